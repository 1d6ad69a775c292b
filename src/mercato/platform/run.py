"""The life of a process: start when what it needs is there, work, and stop without dropping."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog
from pymongo.errors import OperationFailure, PyMongoError

from mercato.platform.tasks import end

RETRY_S_MAX: Final = 5.0

_REFUSED: Final = (13, 18)  # MongoDB: not authorised, wrong credentials

log = structlog.get_logger()


async def until_ready(what: str, attempt: Callable[[], Awaitable[None]]) -> None:
    """Awaits `attempt` until it goes through; for dependencies that start later than we do.

    Raises at once what no wait can mend.
    """
    delay_s = 0.1
    while True:
        try:
            await attempt()
        except Exception as failure:
            if not _worth_waiting(failure):
                raise
            log.warning("waiting", for_=what, failure=type(failure).__name__)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_S_MAX)
        else:
            return


async def run(*loops: Coroutine[Any, Any, None], name: str) -> None:
    """Runs `loops` until SIGTERM or SIGINT, or until one of them fails; then cancels them all."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("ready", name=name)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(each) for each in loops]
        await stop.wait()
        log.info("stopping", name=name)
        await end(running)


def _worth_waiting(failure: Exception) -> bool:
    if isinstance(failure, OperationFailure) and failure.code in _REFUSED:
        return False
    return isinstance(failure, PyMongoError | OSError | TimeoutError)

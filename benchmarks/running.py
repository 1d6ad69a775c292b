"""Running a benchmark: in a folder that is gone afterwards, to its end or to the first signal."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

ROOT: Final = Path(__file__).parents[1]
REPORTS: Final = ROOT / "benchmarks" / "report"
STOPPED: Final = 130  # the exit code after Ctrl-C
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Found = TypeVar("Found")


def run(measure: Callable[[Path], Awaitable[Found]]) -> Found | None:
    """Returns what `measure` finds with a new folder, None when a signal has stopped it.

    The folder is beside the reports and not in /tmp, which is often memory: what is measured
    writes to a disk.
    """
    REPORTS.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=REPORTS) as home:
            return asyncio.run(_to_the_end(measure(Path(home))))
    except (asyncio.CancelledError, KeyboardInterrupt):
        _tell("stopped; nothing is written, nothing is left")
        return None


async def _to_the_end(measuring: Awaitable[Found]) -> Found:
    """The first signal stops everything in order; more of them do not disturb that."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, _tell, "stopping takes up to ten seconds ...")
        _tell("stopping ...")
        if task is not None:
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    return await measuring


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)  # noqa: T201

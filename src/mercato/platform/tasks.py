"""Tasks that somebody holds on to: started anywhere, awaited at the end."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

CANCEL_AGAIN_S: Final = 0.5

T = TypeVar("T")


class Tasks:
    """A set of running tasks; `drain` waits for those that are left."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def drain(self, timeout_s: float) -> None:
        """Waits until every task has ended, at most `timeout_s`; then cancels the rest."""
        if not self._running:
            return
        _, late = await asyncio.wait(set(self._running), timeout=timeout_s)
        await end(late)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels `tasks`, and again until each has ended.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which the drivers use, loses a
    cancellation that comes together with what it waits for.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` to its end, however often its caller is cancelled meanwhile (as `end` does)."""
    task = asyncio.get_running_loop().create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    task.result()


async def together(*loops: Coroutine[Any, Any, None]) -> None:
    """Runs `loops` until one fails or the caller is cancelled; then ends them all.

    Unlike a TaskGroup, which cancels each once, it goes on until each has ended (see `end`).
    """
    tasks = [asyncio.get_running_loop().create_task(each) for each in loops]
    try:
        await asyncio.gather(*tasks)
    finally:
        await finish(end(tasks))

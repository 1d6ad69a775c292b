"""Folding: concurrent calls become one call for all of them, each with an answer of its own.

This is group commit when the one call is a transaction, and request batching when it is an RPC.
A call that finds none under way, and that nobody else makes just then, goes at once; those that
arrive meanwhile go together next. A fold may also gather: under load it waits a moment for more.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Sized
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, Generic, TypeVar

from msgspec import Meta

from mercato.kernel.clock import monotonic
from mercato.kernel.errors import Exhausted, Unavailable
from mercato.platform.settings import load
from mercato.platform.tasks import Tasks

STEP_S: Final = 0.003  # in which somebody comes, as long as more are on their way

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """GROUP_MAX is how many may share a transaction or an RPC anywhere, whatever a place allows.

    1 is the pattern of one transaction for each order and one hop for each call. It is there for
    `make bench ARGS=--compare`, which measures what groups are worth.
    """

    group_max: Annotated[int, Meta(ge=1)] = 1_000


@cache
def group_max() -> int:
    """Returns this process's GROUP_MAX; raises SettingsError."""
    return load(Grouping).group_max


async def gathered(
    waiting: Sized, *, size_max: int, gather_s: float, step_s: float | None = None
) -> None:
    """Waits as long as `waiting` grows: until `step_s` bring nothing new, or there are `size_max`.

    At most `gather_s`; 0 waits for nobody. A step is STEP_S by default.
    """
    until, before = monotonic() + gather_s, 0
    while before < len(waiting) < size_max and monotonic() < until:
        before = len(waiting)
        await asyncio.sleep(step_s or STEP_S)


class Fold(Generic[Item, Result]):
    """Turns `run(items) -> a result or an exception each` into `await fold(item) -> result`.

    At most `size_max` items go into one run, at most `runs_max` runs are under way, and at most
    `waiting_max` items wait; one more raises Exhausted. A caller that is cancelled stops waiting;
    its item is run all the same. Where items come together, a run is begun up to `gather_s` later,
    as long as more come.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        size_max: int = 64,
        runs_max: int = 1,
        waiting_max: int = 10_000,
        gather_s: float = 0.0,
    ) -> None:
        self._run = run
        self._gather_s = gather_s
        self._size_max = min(size_max, group_max())
        # where nobody shares, nobody waits for another's run either
        self._runs_max = runs_max if group_max() > 1 else waiting_max
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._tasks = Tasks()
        self._runs = 0
        # A run works for many callers: it takes over no single one's deadline or trace.
        self._context = contextvars.copy_context()

    async def __call__(self, item: Item) -> Result:
        if len(self._waiting) >= self._waiting_max:
            raise Exhausted("too many requests are waiting; try again later")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runs < self._runs_max:
            self._runs += 1
            self._context.copy().run(self._tasks.start, self._work())
        return await future

    async def _work(self) -> None:
        group: list[tuple[Item, asyncio.Future[Result]]] = []
        try:
            while self._waiting:
                if len(self._waiting) > 1 or len(group) > 1:
                    await gathered(self._waiting, size_max=self._size_max, gather_s=self._gather_s)
                size = min(len(self._waiting), self._size_max)
                group = [self._waiting.popleft() for _ in range(size)]
                results = await self._results([item for item, _ in group])
                for (_, future), result in zip(group, results, strict=True):
                    _settle(future, result)
        finally:
            self._runs -= 1
            for _, future in group:  # of a run that was cancelled: nobody waits for ever
                future.cancel()

    async def _results(self, items: list[Item]) -> Sequence[Result | Exception]:
        try:
            results = await self._run(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")
        except Exception as failure:  # noqa: BLE001 - handed on to every caller of the group
            return [failure] * len(items)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            # what the run waited for was cancelled, not the run: the next group has its turn
            return [Unavailable("the call was cut off; try again")] * len(items)
        return results


def _settle(future: asyncio.Future[Result], result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)

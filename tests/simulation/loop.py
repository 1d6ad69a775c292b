"""An event loop without a clock or a selector: time jumps to the next timer, order is drawn.

The same seed runs the same callbacks in the same order at the same virtual moments.
"""

import asyncio
import heapq
import random
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, Final, TypeVarTuple

EPOCH_S: Final = 1_800_000_000.0  # the virtual world begins here, in seconds since 1970
TURNS_MAX: Final = 400_000  # of one seed: more is a loop that never ends


Ts = TypeVarTuple("Ts")


class Stuck(RuntimeError):
    """Nothing will ever happen again, or the same over and over."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in an order drawn from `chance`; `shuffled` False keeps asyncio's own."""

    def __init__(self, chance: random.Random, *, shuffled: bool) -> None:
        super().__init__()
        self._chance = chance
        self._shuffled = shuffled
        self._now_s = 0.0
        self._turns = 0
        self._ready: list[Any] = []  # what `call_soon` of the class above would use
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._outside = Context()
        self._stalled: dict[Process, float] = {}  # until when

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        """A cancelled timer leaves when its moment comes."""

    def _run_once(self) -> None:
        timers = self._timers
        if not self._ready:
            self._now_s = self._next_moment()
        now_s = self._now_s
        while timers and timers[0][0] <= now_s:
            self._ready.append(heapq.heappop(timers)[2])
        batch, self._ready = self._ready, []
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise Stuck(f"{TURNS_MAX} turns and no end, at {now_s:.3f} s")
        if self._shuffled and len(batch) > 1:
            self._chance.shuffle(batch)
        for handle in batch:
            if not handle._cancelled and not (self._stalled and self._put_off(handle)):
                handle._run()

    def outside(
        self, delay_s: float, callback: Callable[[*Ts], object], *args: *Ts
    ) -> asyncio.TimerHandle:
        """Calls back in nobody's process: what the world does while a process is stalled."""
        return self.call_at(self._now_s + delay_s, callback, *args, context=self._outside)

    def stall(self, process: "Process", for_s: float) -> None:
        """Lets nothing of `process` happen for a while, as SIGSTOP would."""
        self._stalled[process] = self._now_s + for_s

    def stalled_s(self, process: "Process") -> float:
        """Returns for how long `process` is stalled yet."""
        return max(0.0, self._stalled.get(process, 0.0) - self._now_s)

    def _put_off(self, handle: Any) -> bool:
        process = handle._context.get(PROCESS)
        if process is None or self.stalled_s(process) == 0.0:
            return False
        self._timers_made += 1
        heapq.heappush(self._timers, (self._stalled[process], self._timers_made, handle))
        return True

    def _next_moment(self) -> float:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"nothing is left to do at {self._now_s:.3f} s")
        return max(self._now_s, timers[0][0])


class VirtualClock:
    """The loop's time for `mercato.kernel.clock`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        return EPOCH_S + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()


PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


class Process:
    """A service's process: its tasks die together, and what is dead reaches nobody."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self._tasks: list[asyncio.Task[Any]] = []

    def enter(self) -> None:
        """From here on, what the current context starts belongs to this process."""
        PROCESS.set(self)

    def owns(self, task: asyncio.Task[Any]) -> None:
        if len(self._tasks) > 500:
            self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)

    def check(self) -> None:
        """Raises CancelledError in a dead process: no clean-up reaches the world."""
        if not self.alive:
            raise asyncio.CancelledError

    def kill(self) -> list[asyncio.Task[Any]]:
        """Ends the process at once; returns the tasks that have yet to notice."""
        self.alive = False
        left = [task for task in self._tasks if not task.done()]
        for task in left:
            task.cancel()
        return left


def owned_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    """A task factory: each task belongs to the process in whose context it starts."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    context = options.get("context")
    process = PROCESS.get() if context is None else context.get(PROCESS)
    if process is not None:
        process.owns(task)
    return task

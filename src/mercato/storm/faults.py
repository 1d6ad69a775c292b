"""Brings a schedule's faults about, one after the other or several at once, and keeps a record."""

import asyncio
import math
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Final

import msgspec

from mercato.embedded.plan import SERVICES
from mercato.embedded.ports import LOOPBACK
from mercato.embedded.state import Phase
from mercato.embedded.supervisor import Platform
from mercato.platform.tasks import Tasks
from mercato.storm.schedule import Fault
from mercato.storm.wiring import Wiring

RESTART_S: Final = 0.2  # what has died is started again after this, not after a growing pause
READY_S_MAX: Final = 60.0
TAKES_HOLD_S_MAX: Final = 5.0
LOOK_S: Final = 0.05
# One at a time for each target: what is being wiped is not killed meanwhile.
_OF_PROCESSES: Final = ("kill", "stop", "wipe", "flush")
# What placing an order needs; each has worked for so long before one of them is killed.
_PATH: Final = ("gateway", "order", "inventory")
WORKED_S: Final = 1.0


class Happened(msgspec.Struct, frozen=True):
    """A fault that took hold; times in seconds since the storm began."""

    at_s: float
    over_s: float
    group: str
    kind: str
    target: str


class Faults:
    """What goes wrong with one platform."""

    def __init__(self, platform: Platform, wiring: Wiring, nurse: "Nurse") -> None:
        self._platform = platform
        self._nurse = nurse
        self._wiring = wiring
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._began = self._ends = time.monotonic()
        self.happened: list[Happened] = []
        self._kinds: dict[str, Callable[[Fault], Awaitable[bool]]] = {
            "kill": self._kill, "stop": self._stop, "wipe": self._wipe, "flush": self._flush,
            "cut": self._cut, "stall": self._stall, "delay": self._delay,
            "drop replies": self._drop,
        }  # fmt: skip

    async def run(self, schedule: Sequence[Fault], began: float) -> None:
        """Returns when the last fault is over; `began` is the storm's start (time.monotonic)."""
        self._began = began
        self._ends = began + max((fault.at_s for fault in schedule), default=0.0)
        try:
            async with asyncio.TaskGroup() as group:
                for fault in schedule:
                    await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                    group.create_task(self._bring(fault))
        finally:
            self._wiring.calm()

    async def _bring(self, fault: Fault) -> None:
        bring = self._kinds.get(fault.kind, self._cut_mail)
        apart = fault.target if fault.kind in _OF_PROCESSES else ""
        async with self._busy[apart] if apart else nullcontext():
            at_s = time.monotonic() - self._began
            if await bring(fault):
                over_s = time.monotonic() - self._began
                self.happened.append(Happened(at_s, over_s, fault.group, fault.kind, fault.target))

    def _runs(self, part: str) -> bool:
        return self._platform.parts()[part].process is not None

    async def _kill(self, fault: Fault) -> bool:
        """Kills a service only while orders can be placed: else a slow machine never would."""
        path = (*_PATH, fault.target) if fault.target in _PATH else (fault.target,)
        needed = path if fault.group == "services" else ()
        if not (self._runs(fault.target) and all(map(self._nurse.has_worked, needed))):
            return False
        self._platform.kill(fault.target, signal.SIGKILL)
        return True

    async def _stop(self, fault: Fault) -> bool:
        if not self._runs(fault.target):
            return False
        self._platform.kill(fault.target, signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            self._platform.kill(fault.target, signal.SIGCONT)
        return True

    async def _wipe(self, fault: Fault) -> bool:
        """SIGKILL, and all its data gone before it starts again."""
        self._platform.kill(fault.target, signal.SIGKILL)
        await self._platform.stop(fault.target)
        self._platform.wipe(fault.target)
        async with asyncio.timeout(READY_S_MAX):
            await self._platform.start(fault.target)
        return True

    async def _flush(self, fault: Fault) -> bool:
        try:
            async with asyncio.timeout(1.0):
                port = self._platform.parts()[fault.target].ports["redis"]
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                password = self._platform.environment["REDIS_PASSWORD"]
                if password:
                    writer.write(f"AUTH {password}\r\n".encode())
                    await reader.readline()
                writer.write(b"FLUSHALL\r\n")
                told = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return told.startswith(b"+OK")

    async def _cut(self, fault: Fault) -> bool:
        proxy = self._wiring.proxies[fault.target]
        there = bool(proxy.links)
        proxy.cut()
        return there

    async def _stall(self, fault: Fault) -> bool:
        self._wiring.proxies[fault.target].stall(fault.lasts_s)
        await asyncio.sleep(fault.lasts_s)
        return True

    async def _delay(self, fault: Fault) -> bool:
        self._wiring.proxies[fault.target].delay(fault.much, fault.lasts_s)
        await asyncio.sleep(fault.lasts_s)
        return True

    async def _drop(self, fault: Fault) -> bool:
        """Took hold if a reply came that could be dropped."""
        proxy = self._wiring.proxies[fault.target]
        before = proxy.replies_dropped
        proxy.drop_replies(round(fault.much))
        return await self._takes_hold(lambda: proxy.replies_dropped > before)

    async def _cut_mail(self, fault: Fault) -> bool:
        """Took hold if a dialogue came to the stage."""
        smtp, stage = self._wiring.smtp, fault.kind.removeprefix("cut ")
        before = smtp.fired[stage]
        smtp.cut_at(stage)
        return await self._takes_hold(lambda: smtp.fired[stage] > before)

    async def _takes_hold(self, holds: Callable[[], bool]) -> bool:
        """Waits for what a fault lies in wait for, as long as the storm goes on."""
        left_s = max(self._ends - time.monotonic(), TAKES_HOLD_S_MAX)
        for _ in range(round(left_s / LOOK_S)):
            if holds():
                break
            await asyncio.sleep(LOOK_S)
        return holds()


class Nurse:
    """Starts what has died again at once, since a storm kills more often than a back-off allows."""

    def __init__(self) -> None:
        self.platform: Platform | None = None
        self.restarts = 0
        self._tasks = Tasks()
        self._ready: dict[str, float] = {}

    def has_worked(self, name: str) -> bool:
        """Whether a part works, and has done so for a moment."""
        return time.monotonic() - self._ready.get(name, math.inf) > WORKED_S

    def tell(self, name: str, phase: Phase, detail: str) -> None:
        """Fits `Platform.open`."""
        if phase == "ready":
            self._ready[name] = time.monotonic()
        else:
            self._ready.pop(name, None)
        if phase == "restarting" and self.platform is not None:
            self.restarts += name in SERVICES
            self._tasks.start(self._start(self.platform, name))

    async def _start(self, platform: Platform, name: str) -> None:
        await asyncio.sleep(RESTART_S)
        if platform.parts()[name].phase == "restarting":
            try:
                async with asyncio.timeout(READY_S_MAX):
                    await platform.start(name)
            except TimeoutError:
                return  # its keeper goes on trying

    async def leave(self) -> None:
        self.platform = None
        await self._tasks.drain(0)

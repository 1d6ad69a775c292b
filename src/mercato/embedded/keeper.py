"""Keeps one part running: starts it, waits until it works, restarts it when it dies."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process, create_subprocess_exec
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mercato.embedded import child
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.part import Part
from mercato.embedded.state import PartState, Phase, ProcessId
from mercato.platform.settings import whole_environment
from mercato.platform.tasks import end

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 10.0
STEADY_S = 30.0
FIRST_ATTEMPTS_MAX = 3
START_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 2.0
POLL_S = 0.05
LOG_LINES_SHOWN = 8
ENDED = "exit code 0"
WRONG_SETTING = "exit code 2"  # which it would be the next time too

Tell = Callable[[str, Phase, str], None]


class Keeper:
    """`changed(name, phase, detail)` is called, synchronously, at every change of phase."""

    def __init__(self, part: Part, log: Path, after: Sequence["Keeper"], changed: Tell) -> None:
        self.part = part
        self.log = log
        self.phase: Phase = "waiting"
        self.restarts = 0
        self.ready = asyncio.Event()
        self._after = after
        self._changed = changed
        self._process: Process | None = None
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._nudged = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._worked_once = False

    async def keep(self) -> None:
        """Runs until cancelled; raises PlatformError if the part never worked in three attempts."""
        for other in self._after:
            await other.ready.wait()
        delay_s = BACKOFF_FIRST_S
        while True:
            if not self._wanted.is_set():
                self._enter("stopped")
                await self._wanted.wait()
            began = time.monotonic()
            death = await self._live()
            if not self._wanted.is_set():
                continue
            self.restarts += 1
            told_wrong = death == WRONG_SETTING
            if not self._worked_once and (told_wrong or self.restarts == FIRST_ATTEMPTS_MAX):
                kind = UsageError if told_wrong else PlatformError
                raise kind(f"{self.part.name} does not start: {death}", self._last_words())
            asked = death == ENDED and self._worked_once  # SIGTERM is how one asks for a restart
            if asked or time.monotonic() - began > STEADY_S:
                delay_s = BACKOFF_FIRST_S
            self._enter("restarting", f"{death}; starting it again in {delay_s:g} s")
            await self._pause(delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)

    def signal(self, number: int) -> None:
        """Signals the part's whole process group, if it runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, after `grace_s` SIGKILL; returns when it is gone, to stay so until start()."""
        self._wanted.clear()
        self._nudged.set()
        if self._ended.is_set():
            return
        self._enter("stopping")
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self._ended.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._ended.wait()

    def start(self) -> None:
        """Starts a stopped part, or one that waits for its next attempt, at once."""
        self._wanted.set()
        self._nudged.set()

    def state(self) -> PartState:
        """What the platform's record says of this part."""
        process = ProcessId.of(self._process.pid) if self._process else None
        return PartState(self.phase, dict(self.part.ports), str(self.log), process, self.restarts)

    def _enter(self, phase: Phase, detail: str = "") -> None:
        self.phase = phase
        self._changed(self.part.name, phase, detail)

    async def _live(self) -> str:
        self._ended.clear()
        try:
            self._process = await self._spawn()
            self._enter("starting")
            if not self._wanted.is_set():
                self.signal(signal.SIGTERM)
            async with asyncio.TaskGroup() as group:
                probing = group.create_task(self._until_it_works())
                code = await self._process.wait()
                await end([probing])
            if not probing.cancelled() and not probing.result():
                return f"not ready within {START_TIMEOUT_S:g} s"
            return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        finally:
            self.signal(signal.SIGKILL)  # on cancellation the part, else what is left of its group
            if self._process is not None:
                await self._process.wait()
            self._process = None
            self.ready.clear()
            self._ended.set()

    async def _spawn(self) -> Process:
        wrapper = (sys.executable, "-I", "-S", child.__file__, str(os.getpid()))
        with self.log.open("ab") as log:
            return await create_subprocess_exec(
                *wrapper,
                *self.part.command,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                env={**whole_environment(), **self.part.environment},
                start_new_session=True,
            )

    async def _until_it_works(self) -> bool:
        """Returns whether it did in time; else it is killed."""
        began = time.monotonic()
        while time.monotonic() - began < START_TIMEOUT_S:
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    if await self.part.answers():
                        self._worked_once = True
                        self._stand_back()
                        self.ready.set()
                        self._enter("ready", f"{time.monotonic() - began:.1f} s")
                        return True
            await asyncio.sleep(POLL_S)
        self.signal(signal.SIGKILL)
        return False

    def _stand_back(self) -> None:
        """Gives all threads of a part that has started its niceness, and its session (sched(7)).

        Each part is a session of its own, and the kernel may weigh sessions before processes.
        """
        niceness = self.part.niceness
        if self._process is None or not niceness:
            return
        of_it = Path("/proc", str(self._process.pid))
        with suppress(OSError):
            for thread in map(int, os.listdir(of_it / "task")):
                before = os.getpriority(os.PRIO_PROCESS, thread)
                os.setpriority(os.PRIO_PROCESS, thread, max(before, niceness))
            (of_it / "autogroup").write_text(str(niceness))

    async def _pause(self, delay_s: float) -> None:
        self._nudged.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._nudged.wait()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join((f"its last words in {self.log}:", *lines))

"""The whole platform as one object: opened, watched, put under fault, and closed."""

import asyncio
import fcntl
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil

from mercato.embedded import state
from mercato.embedded.errors import AlreadyRunning, PlatformError
from mercato.embedded.home import prepare, usable
from mercato.embedded.keeper import Keeper, Tell
from mercato.embedded.part import Tier
from mercato.embedded.plan import SERVICES, Plan, Rewire, as_it_is, draw
from mercato.embedded.ports import held
from mercato.embedded.settings import Given
from mercato.embedded.size import SINGLE, Size
from mercato.embedded.state import PartState, Phase, PlatformState, ProcessId
from mercato.platform.tasks import end

STOP_GRACE_S = 3.0  # for each of three tiers, so that all is over within 10 s
LOG_BYTES_MAX = 10 * 1024 * 1024


def _tell_nobody(name: str, phase: Phase, detail: str) -> None:
    """The default listener."""


class Platform:
    """Get one from `open`. Parts are named mongo, redis, nats, mailbox and as the services."""

    def __init__(self, data_dir: Path, plan: Plan, tell: Tell) -> None:
        self.data_dir = data_dir
        self.environment: Mapping[str, str] = plan.environment
        self.urls: Mapping[str, str] = plan.urls
        self.logins: Mapping[str, str] = plan.logins
        self.external: Sequence[str] = plan.external
        self.secure = plan.secure
        self._ports = plan.ports
        self._tell = tell
        self._closing = False
        self._keepers: dict[str, Keeper] = {}
        loop = asyncio.get_running_loop()
        self._all_ready: asyncio.Future[None] = loop.create_future()
        for part in plan.parts:
            after = [] if part.tier is Tier.SERVER else self._tier(Tier.SERVER)
            log = data_dir / "logs" / f"{part.name}.log"
            self._keepers[part.name] = Keeper(part, log, after, self._changed)
        # One task owns the keepers' TaskGroup, because `open` may be entered and left in
        # different tasks (a test fixture is), which a TaskGroup around a `yield` forbids.
        self._supervision = loop.create_task(self._supervise())

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        data_dir: Path,
        *,
        services: Sequence[str] = SERVICES,
        port: int = 0,
        given: Given | None = None,
        tell: Tell = _tell_nobody,
        rewire: Rewire = as_it_is,
        size: Size = SINGLE,
        secure: bool | None = None,
    ) -> "AsyncIterator[Platform]":
        """Starts the servers and `services`, gives the ready platform, stops everything after.

        `port` is the gateway's, 0 for any free one; `given`, `rewire` and `size` as for
        `plan.draw`; `tell(part, phase, detail)` hears of every change. `secure` None: as it was the
        last time. Raises PlatformError when a part does not come up, AlreadyRunning when the data
        directory has a supervisor.
        """
        with _sole_owner(data_dir) as home:
            before = state.read(home)
            _end_survivors(before)
            with usable(home):
                wanted = bool(before and before.secure) if secure is None else secure
                plan = draw(home, services, port, given or Given(), before, rewire, size, wanted)
                _lay_out(home, plan)
            with held(plan.ports.values()):
                platform = cls(home, plan, tell)
                try:
                    await platform._all_ready
                    yield platform
                finally:
                    await platform._close()

    async def watch(self) -> None:
        """Never returns; raises what ends the supervision (which is a defect)."""
        await asyncio.shield(self._supervision)

    async def wait_ready(self, *names: str) -> None:
        """Returns when these parts (all, if none is named) work; bound it with a timeout."""
        for name in names or self._keepers:
            await self._keeper(name).ready.wait()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signals a part's process group; if it dies of it, it is restarted like any other."""
        keeper = self._keeper(name)
        if number == signal.SIGKILL:
            keeper.ready.clear()  # so that wait_ready() waits for the next life
        keeper.signal(number)

    async def stop(self, name: str, grace_s: float = STOP_GRACE_S) -> None:
        """Stops a part and keeps it stopped until `start`."""
        await self._keeper(name).stop(grace_s)

    async def start(self, name: str) -> None:
        """Starts a stopped part and returns when it works."""
        self._keeper(name).start()
        await self.wait_ready(name)

    def wipe(self, name: str) -> None:
        """Deletes all data of a stopped part (of nats: the JetStream directory)."""
        keeper = self._keeper(name)
        if keeper.state().process is not None or keeper.part.home is None:
            raise PlatformError(f"{name} runs, or has no data", f"stop {name} first")
        shutil.rmtree(keeper.part.home)
        keeper.part.home.mkdir()

    def parts(self) -> dict[str, PartState]:
        """Every part as it is now."""
        return {name: keeper.state() for name, keeper in self._keepers.items()}

    def _keeper(self, name: str) -> Keeper:
        if name not in self._keepers:
            raise PlatformError(f"there is no part {name!r}", f"one of: {', '.join(self._keepers)}")
        return self._keepers[name]

    def _tier(self, tier: Tier) -> list[Keeper]:
        return [keeper for keeper in self._keepers.values() if keeper.part.tier is tier]

    async def _supervise(self) -> None:
        if not self._keepers:
            self._all_ready.set_result(None)
        try:
            async with asyncio.TaskGroup() as group:
                for keeper in self._keepers.values():
                    group.create_task(keeper.keep())
        except ExceptionGroup as failures:
            if self._all_ready.done():
                raise
            self._all_ready.set_exception(failures.exceptions[0])

    def _changed(self, name: str, phase: Phase, detail: str) -> None:
        if not self._all_ready.done() and all(k.ready.is_set() for k in self._keepers.values()):
            self._all_ready.set_result(None)
        self._record()
        self._tell(name, phase, detail)

    def _record(self) -> None:
        phases = [keeper.phase for keeper in self._keepers.values()]
        record = PlatformState(
            supervisor=None if self._closing and set(phases) <= {"stopped"} else _OURSELVES,
            ready=all(phase == "ready" for phase in phases),
            urls=dict(self.urls),
            environment=dict(self.environment),
            logins=dict(self.logins),
            external=list(self.external),
            ports=self._ports,
            parts=self.parts(),
            secure=self.secure,
        )
        with suppress(OSError):  # a full disk must not stop the parts that still work
            state.write(self.data_dir, record)

    async def _close(self) -> None:
        """Highest tier first; everything is over within three times the grace."""
        self._closing = True
        for tier in reversed(Tier):
            async with asyncio.TaskGroup() as group:
                for keeper in self._tier(tier):
                    group.create_task(keeper.stop(STOP_GRACE_S))
        await end([self._supervision])
        for keeper in self._keepers.values():
            keeper.phase = "stopped"
        self._record()


_OURSELVES = ProcessId.of(psutil.Process().pid)


@contextmanager
def _sole_owner(data_dir: Path) -> Iterator[Path]:
    """The absolute path, under a lock that the kernel releases however this process ends."""
    prepare(data_dir)
    with usable(data_dir):
        opened = (data_dir / "lock").open("ab")
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            known = state.read(data_dir)
            pid = known.supervisor.pid if known and known.supervisor else "unknown"
            raise AlreadyRunning(
                f"a Mercato already runs in {data_dir} (pid {pid})",
                "see it: mercato status; stop it: mercato down; or use another --data-dir",
            ) from None
        yield data_dir.resolve()


def _end_survivors(before: PlatformState | None) -> None:
    """Children die with their supervisor, but not in the same instant: their locks may be held."""
    processes = (
        [part.process.find() for part in before.parts.values() if part.process] if before else []
    )
    survivors = [process for process in processes if process]
    for process in survivors:
        process.kill()
    psutil.wait_procs(survivors, timeout=STOP_GRACE_S)


def _lay_out(data_dir: Path, plan: Plan) -> None:
    for part in plan.parts:
        if part.home is not None:
            part.home.mkdir(exist_ok=True)
        log = data_dir / "logs" / f"{part.name}.log"
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))

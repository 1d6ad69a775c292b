"""`mercato up`: the whole platform in the foreground, or left running with --detach."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mercato.cli import preflight
from mercato.cli.progress import Progress, summarise
from mercato.cli.terminal import WRONG_USE, DataDir, Port, console, gateway_port
from mercato.embedded import doctor, externals, state
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.home import prepare, usable
from mercato.embedded.plan import SERVICES, insist_on_mode
from mercato.embedded.ports import demand
from mercato.embedded.secure.mode import PASSWORDS_FILE
from mercato.embedded.settings import Given
from mercato.embedded.size import CLUSTER, SINGLE, Size
from mercato.embedded.state import PlatformState
from mercato.embedded.supervisor import Platform

DETACH_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 12.0
POLL_S = 0.1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    *,
    port: Port = None,
    detach: Annotated[bool, Parameter(name=("--detach", "-d"), help="Leave it running.")] = False,
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), help="Only what matters.")] = False,
    cluster: Annotated[
        bool, Parameter(help="Three mongods and nats-servers, two copies of each service.")
    ] = False,
    secure: Annotated[
        bool, Parameter(help="TLS, and rights for each service; by default as the last time.")
    ] = False,
    plain: Annotated[bool, Parameter(help="Without all that, whatever was last time.")] = False,
    services: Annotated[str, Parameter(show=False)] = ",".join(SERVICES),
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
) -> None:
    """Start the whole platform here, and keep it running until Ctrl-C (twice: at once).

    In secure mode, which the folder remembers, the gateway speaks HTTPS with a certificate of the
    authority in <data-dir>/tls/ca.pem, and every service has its own rights and no others.

    MONGO_URI, REDIS_ADDR, NATS_URL and SMTP_HOST, given by the environment or a .env file, are
    used instead of the server that would be started; one that does not answer stops it. PORT is
    used where --port is left out.
    """
    chosen = tuple(filter(None, services.split(",")))
    given = preflight.given(chosen)
    door = gateway_port(port)
    size = CLUSTER if cluster else SINGLE
    mode = _mode(secure=secure, plain=plain)
    insist_on_mode(size, bool(mode))
    doctor.insist(data_dir, given)
    if door and "gateway" in chosen and not data_dir.exists():  # a refusal leaves none behind
        demand(door)
    if detach:
        _leave_running(door, services, data_dir, size, mode)
    else:
        progress = Progress(console, quiet=quiet)
        asyncio.run(_stay(data_dir, chosen, door, given, size, mode, progress))


def _mode(*, secure: bool, plain: bool) -> bool | None:
    """Returns whether it is to be secure, None for what the folder remembers."""
    if secure and plain:
        raise UsageError("--secure and --plain exclude each other", "leave out one of them")
    return secure if secure or plain else None


async def _stay(
    data_dir: Path,
    services: tuple[str, ...],
    port: int,
    given: Given,
    size: Size,
    secure: bool | None,
    progress: Progress,
) -> None:
    began = time.monotonic()
    with suppress(asyncio.CancelledError), progress:
        _stop_on_signal(progress)
        await externals.insist(given)
        async with Platform.open(
            data_dir,
            services=services,
            port=port,
            given=given,
            tell=progress.tell,
            size=size,
            secure=secure,
        ) as platform:
            progress.finish()
            _summarise(state.running(data_dir), data_dir)
            console.print(
                f"[bold green]ready[/] in {time.monotonic() - began:.1f} s; Ctrl-C stops it"
            )
            await platform.watch()


def _summarise(known: PlatformState, data_dir: Path) -> None:
    """Says where everything is, and passwords that nobody else has to a terminal alone."""
    file = data_dir / PASSWORDS_FILE
    if not file.exists():  # a plain start goes without it, and keeps the passwords
        file = data_dir / state.FILE
    summarise(console, known, "" if console.is_terminal else f"(see {file})")


def _stop_on_signal(progress: Progress) -> None:
    """The first signal stops everything in order; with a second all parts die with us at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, os._exit, 130)
        progress.stopping()
        if task is not None:
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)


def _leave_running(
    port: int, services: str, data_dir: Path, size: Size, secure: bool | None
) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):  # what is half started goes with us
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    prepare(data_dir)
    log = data_dir / "logs" / "up.log"
    options = ["--port", str(port), "--services", services, "--data-dir", str(data_dir)]
    options += ["--cluster"] if size == CLUSTER else []
    options += {None: [], True: ["--secure"], False: ["--plain"]}[secure]
    with usable(data_dir), log.open("wb") as output:
        supervisor = subprocess.Popen(  # noqa: S603
            (sys.executable, "-P", "-m", "mercato", "up", "--quiet", *options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    known = None
    try:
        known = _ready(supervisor, data_dir)
    finally:
        if known is None:
            _stop(supervisor)
    if known is None:
        refused = UsageError if supervisor.returncode == WRONG_USE else PlatformError
        raise refused("the platform did not start", log.read_text(errors="replace").strip())
    _summarise(known, data_dir)
    console.print("[bold green]ready[/]; mercato down stops it")


def _ready(supervisor: subprocess.Popen[bytes], data_dir: Path) -> PlatformState | None:
    """Returns what it has started, None when it has ended; raises PlatformError when it hangs."""
    deadline = time.monotonic() + DETACH_TIMEOUT_S
    late: list[str] = []
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            return None
        known = state.read(data_dir)
        if known and known.supervisor and known.supervisor.pid == supervisor.pid:
            if known.ready:
                return known
            late = [name for name, part in known.parts.items() if part.phase != "ready"]
        time.sleep(POLL_S)
    raise PlatformError(
        f"not ready in {DETACH_TIMEOUT_S:g} s: {', '.join(late) or 'anything'}", "see: mercato logs"
    )


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    """Ends it with all its parts, which die with it at the latest."""
    supervisor.terminate()
    try:
        supervisor.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()

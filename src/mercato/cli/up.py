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

from mercato.cli.progress import Progress, summarise
from mercato.cli.terminal import DataDir, console
from mercato.embedded import doctor, state
from mercato.embedded.errors import PlatformError
from mercato.embedded.plan import GATEWAY_PORT, SERVICES
from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.platform.settings import load

DETACH_TIMEOUT_S = 60.0
POLL_S = 0.1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    *,
    port: Annotated[int, Parameter(help="The gateway's port; 0 for any free one.")] = GATEWAY_PORT,
    detach: Annotated[bool, Parameter(name=("--detach", "-d"), help="Leave it running.")] = False,
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), help="Only what matters.")] = False,
    services: Annotated[str, Parameter(show=False)] = ",".join(SERVICES),
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
) -> None:
    """Start the whole platform here, and keep it running until Ctrl-C (twice: at once).

    MONGO_URI, REDIS_ADDR, NATS_URL and SMTP_HOST, given by the environment or a .env file, are
    used instead of the server that would be started.
    """
    chosen = tuple(filter(None, services.split(",")))
    if detach:
        _leave_running(port, services, data_dir)
    else:
        given = load(Given)
        doctor.insist(data_dir, given)
        asyncio.run(_stay(data_dir, chosen, port, given, Progress(console, quiet=quiet)))


async def _stay(
    data_dir: Path, services: tuple[str, ...], port: int, given: Given, progress: Progress
) -> None:
    began = time.monotonic()
    with suppress(asyncio.CancelledError), progress:
        _stop_on_signal(progress)
        async with Platform.open(
            data_dir, services=services, port=port, given=given, tell=progress.tell
        ) as platform:
            progress.finish()
            summarise(console, state.running(data_dir))
            console.print(
                f"[bold green]ready[/] in {time.monotonic() - began:.1f} s; Ctrl-C stops it"
            )
            await platform.watch()


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


def _leave_running(port: int, services: str, data_dir: Path) -> None:
    (data_dir / "logs").mkdir(parents=True, exist_ok=True)
    log = data_dir / "logs" / "up.log"
    options = ("--port", str(port), "--services", services, "--data-dir", str(data_dir))
    with log.open("wb") as output:
        supervisor = subprocess.Popen(  # noqa: S603
            (sys.executable, "-P", "-m", "mercato", "up", "--quiet", *options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACH_TIMEOUT_S
    while supervisor.poll() is None and time.monotonic() < deadline:
        known = state.read(data_dir)
        ours = known is not None and known.supervisor and known.supervisor.pid == supervisor.pid
        if known is not None and ours and known.ready:
            summarise(console, known)
            console.print("[bold green]ready[/]; mercato down stops it")
            return
        time.sleep(POLL_S)
    raise PlatformError("the platform did not start", log.read_text(errors="replace").strip())

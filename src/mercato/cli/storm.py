"""`mercato storm`: the whole platform under load and faults; exit code 0 PASS, 1 FAIL."""

import asyncio
import os
import random
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import uvloop
from cyclopts import Parameter
from cyclopts.validators import Number

from mercato.cli import preflight
from mercato.cli.storm_view import conclude, watch
from mercato.cli.terminal import Json, console, errors, say_json
from mercato.embedded import doctor
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.home import usable
from mercato.embedded.plan import SERVICES
from mercato.embedded.settings import Given
from mercato.platform.tasks import end
from mercato.storm import page
from mercato.storm.report import Options, Report
from mercato.storm.run import Storm
from mercato.storm.schedule import GROUPS

SEEDS: Final = 2**32
SETTLE_S: Final = 30.0
REPORT_DIR: Final = Path("storm-report")
INTERRUPTED: Final = 130
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _groups(_: Any, value: str) -> None:
    unknown = set(value.split(",")) - set(GROUPS)
    if unknown and value not in ("all", "none"):
        raise ValueError(
            f"{', '.join(sorted(unknown))!r} is none of {', '.join(GROUPS)}; "
            "or say all, or none, and no other"
        )


def storm(
    *,
    orders: Annotated[
        int, Parameter(help="How many are to be acknowledged.", validator=Number(gte=1))
    ] = 10_000,
    minutes: Annotated[
        float, Parameter(help="How long faults come.", validator=Number(gt=0, lte=24 * 60))
    ] = 1.0,
    clients: Annotated[
        int, Parameter(help="How many order at once.", validator=Number(gte=1, lte=2_000))
    ] = 128,
    seed: Annotated[
        int | None, Parameter(help="Of the faults; by default a new one, which is printed.")
    ] = None,
    faults: Annotated[
        str, Parameter(help="all, or some of services,servers,network,mail.", validator=_groups)
    ] = "all",
    secure: Annotated[
        bool, Parameter(help="In secure mode: TLS, and rights for each service.")
    ] = False,
    data_dir: Annotated[
        Path | None, Parameter(help="An empty or new folder; by default a temporary one.")
    ] = None,
    keep: Annotated[bool, Parameter(help="Keep the temporary folder: data and logs.")] = False,
    report: Annotated[
        Path, Parameter(help="The folder for storm.html and storm.json.")
    ] = REPORT_DIR,
    json: Json = False,
) -> int:
    """Put the whole platform, one of its own, under load and faults, and give a verdict."""
    chosen = random.randrange(SEEDS) if seed is None else seed  # noqa: S311
    groups = [name for name in GROUPS if faults == "all" or name in faults.split(",")]
    options = Options(orders, minutes * 60, clients, chosen, groups, SETTLE_S, secure)
    _usable(report)
    preflight.insist(SERVICES)
    doctor.insist(data_dir or Path(tempfile.gettempdir()), Given())
    folder = _own(data_dir)
    return _run(options, folder, report, json=json, keep=keep or data_dir is not None)


def _run(options: Options, folder: Path, report: Path, *, json: bool, keep: bool) -> int:
    """Runs it in `folder`, which stays when there is something to be looked into."""
    to_be_seen = True
    try:
        if not json:
            console.print(f"[bold]storm[/] seed {options.seed}")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_weather(Storm(options), folder, quiet=json))
        to_be_seen = found is not None and not found.passed
        return INTERRUPTED if found is None else _conclude(found, report, json=json)
    finally:
        if keep or to_be_seen:
            errors.print(f"data and logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _usable(report: Path) -> None:
    """Raises PlatformError, before anything has begun, when this folder cannot be made."""
    try:
        report.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # it is made when there is something to be kept
            report.rmdir()
    except OSError as failure:
        raise PlatformError(
            f"{report} cannot be the report's folder: {failure.strerror}",
            "choose another one with --report",
        ) from None


def _conclude(found: Report, folder: Path, *, json: bool) -> int:
    if json:
        say_json(found)
    else:
        conclude(found, console)
    written = page.write(found, folder)
    if not json:
        console.print(f"report: {written}")
    return 0 if found.passed else 1


async def _weather(storm: Storm, folder: Path, *, quiet: bool) -> Report | None:
    """Returns the report, None when the user has ended it."""
    loop = asyncio.get_running_loop()
    running = loop.create_task(storm.run(folder))
    watching = [] if quiet else [loop.create_task(watch(storm, console))]

    def leave() -> None:
        errors.print(f"data and logs: {folder}")
        os._exit(INTERRUPTED)

    def stop() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, leave)
        errors.print("stopping; once more to stop at once")
        running.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        return await running
    except asyncio.CancelledError:
        return None
    finally:
        await end(watching)


def _own(data_dir: Path | None) -> Path:
    """Returns a folder that holds nothing yet: a storm wipes what is there."""
    if data_dir is None:
        return Path(tempfile.mkdtemp(prefix="mercato-storm-"))
    with usable(data_dir):
        if data_dir.exists() and any(data_dir.iterdir()):
            raise UsageError(f"{data_dir} is not empty", "a storm needs a folder of its own")
    return data_dir

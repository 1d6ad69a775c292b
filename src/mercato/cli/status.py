"""`mercato status`: what each part does; exit code 0 all ready, 1 some not, 3 not running."""

import time

import msgspec
import psutil
from rich.table import Table

from mercato.cli.terminal import NOT_RUNNING, DataDir, Json, console, say_json
from mercato.embedded import state
from mercato.embedded.state import PartState, Phase

NOT_READY = 1
MIB = 1024 * 1024


class Line(msgspec.Struct):
    """One part, with what only the running process tells."""

    name: str
    phase: Phase
    pid: int | None
    ports: dict[str, int]
    uptime_s: int | None
    rss_mib: int | None
    restarts: int


def status(*, data_dir: DataDir = state.DEFAULT_DATA_DIR, json: Json = False) -> int:
    """Show each part: state, process, ports, uptime, memory, restarts."""
    known = state.read(data_dir)
    if known is None or not known.alive:
        if json:
            say_json({"running": False, "ready": False, "urls": {}, "parts": []})
        else:
            start = state.up_in(data_dir)
            console.print(f"no Mercato is running in {data_dir}; start it with: {start}")
        return NOT_RUNNING
    ourselves = PartState("ready", {}, log="", process=known.supervisor)
    lines = [_line(name, part) for name, part in {**known.parts, "supervisor": ourselves}.items()]
    if json:
        say_json({"running": True, "ready": known.ready, "urls": known.urls, "parts": lines})
    else:
        console.print(_table(lines))
        for name, url in known.urls.items():
            console.print(f"{name:<10}{url}")
    return 0 if known.ready else NOT_READY


def _line(name: str, part: PartState) -> Line:
    process = part.process.find() if part.process else None
    pid = uptime_s = rss_mib = None
    if process is not None:
        try:
            pid = process.pid
            uptime_s = int(time.time() - process.create_time())
            rss_mib = process.memory_info().rss // MIB
        except psutil.Error:
            pid = None
    return Line(name, part.phase, pid, part.ports, uptime_s, rss_mib, part.restarts)


def _table(lines: list[Line]) -> Table:
    total = sum(line.rss_mib or 0 for line in lines)
    table = Table("part", "state", "pid", "ports", "uptime", "memory", "restarts", box=None)
    for line in lines:
        ports = " ".join(f"{use}:{port}" for use, port in line.ports.items())
        uptime = "" if line.uptime_s is None else _duration(line.uptime_s)
        memory = "" if line.rss_mib is None else f"{line.rss_mib} MiB"
        pid = str(line.pid or "")
        table.add_row(line.name, line.phase, pid, ports, uptime, memory, str(line.restarts))
    table.add_row("", "", "", "", "in all", f"{total} MiB", "")
    return table


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"

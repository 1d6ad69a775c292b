"""`mercato logs`: the parts' log files, each line with the part that wrote it."""

import time
from collections import deque
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from mercato.cli.terminal import DataDir, console
from mercato.embedded import state
from mercato.embedded.errors import NotRunning, UsageError

POLL_S = 0.2
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")


def logs(
    *parts: Annotated[str, Parameter(help="Which parts; all, when none is named.")],
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), help="Go on showing.")] = False,
    lines: Annotated[
        int,
        Parameter(name=("--lines", "-n"), help="So many of each part.", validator=Number(gte=0)),
    ] = 50,
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
) -> None:
    """Show what the parts log."""
    files = {path.stem: path for path in sorted((data_dir / "logs").glob("*.log"))}
    if not files:
        raise NotRunning(
            f"no log of any part in {data_dir}", f"start it with: {state.up_in(data_dir)}"
        )
    unknown = [part for part in parts if part not in files]
    if unknown:
        raise UsageError(f"no log of {', '.join(unknown)}", f"there are: {', '.join(files)}")
    wanted = {name: path for name, path in files.items() if not parts or name in parts}
    ends = {name: _show_last(name, path, lines, wanted) for name, path in wanted.items()}
    while follow:
        time.sleep(POLL_S)
        for name, path in wanted.items():
            ends[name] = _show_since(name, path, ends[name], wanted)


def _show_last(name: str, path: Path, count: int, shown: dict[str, Path]) -> int:
    with path.open("rb") as file:
        for line in deque(file, maxlen=count):
            _show(name, line, shown)
        return file.tell()


def _show_since(name: str, path: Path, end: int, shown: dict[str, Path]) -> int:
    if path.stat().st_size < end:  # a new start has put a new file here
        end = 0
    with path.open("rb") as file:
        file.seek(end)
        for line in file:
            if not line.endswith(b"\n"):
                break  # still being written
            _show(name, line, shown)
            end += len(line)
    return end


def _show(name: str, line: bytes, shown: dict[str, Path]) -> None:
    colour = COLOURS[list(shown).index(name) % len(COLOURS)]
    console.print(f"[{colour}]{name:<9}[/] ", end="")
    console.print(line.decode(errors="replace").rstrip(), markup=False)

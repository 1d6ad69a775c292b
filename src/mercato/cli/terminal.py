"""What every command shares: its options, and how it speaks to people and to programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, Token
from cyclopts.validators import Number
from rich.console import Console

from mercato.embedded.errors import NotRunning, PlatformError, UsageError
from mercato.embedded.settings import Door
from mercato.kernel.errors import AppError, Invalid
from mercato.platform.settings import PORT_MAX, SettingsError, load

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

WRONG_USE, NOT_RUNNING = 2, 3  # exit codes, of every command

IS_PORT = Number(gte=0, lte=PORT_MAX)


def _folder(_: type[Path], tokens: Sequence[Token]) -> Path:
    """Raises ValueError for an empty name, which would be the current folder."""
    if not tokens[0].value:
        raise ValueError("it is empty: name a folder (the current one is .)")
    return Path(tokens[0].value)


DataDir = Annotated[
    Path,
    Parameter(
        converter=_folder,
        name="--data-dir",
        env_var="MERCATO_DATA_DIR",
        help="The folder with all data, logs and ports of the platform.",
    ),
]
Port = Annotated[
    int | None,
    Parameter(
        help="The gateway's port, 0 for any free one; by default PORT, or else 8080.",
        validator=IS_PORT,
    ),
]
Limit = Annotated[int, Parameter(help="At most so many.", validator=Number(gte=1))]
Json = Annotated[bool, Parameter(name="--json", help="Answer with JSON, for programs.")]


def gateway_port(asked: int | None) -> int:
    """Returns the port that was asked for, else that of the environment; raises SettingsError."""
    return load(Door).port if asked is None else asked


def say_json(content: object) -> None:
    """The answer for programs, on standard output."""
    text = msgspec.json.format(msgspec.json.encode(content)).decode()
    console.print(text, markup=False)


def one_line(text: str, characters_max: int = 200) -> str:
    """Returns strangers' text short, and with nothing in it that could steer a terminal."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain if len(plain) <= characters_max else f"{plain[: characters_max - 1]}…"


def counted(count: int, noun: str) -> str:
    """Returns "1 line", "2,000 lines"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def explain(failure: Exception, *, json: bool) -> bool:
    """Shows an expected failure with its remedy, with `json` to programs too.

    False for any other, which is a defect.
    """
    if not isinstance(failure, PlatformError | SettingsError | AppError):
        return False
    errors.print(f"[bold red]error:[/] {_plain(str(failure))}")
    violations = failure.violations if isinstance(failure, AppError) else ()
    for violation in violations:
        errors.print(_plain(f"  {violation.field}: {violation.detail}"))
    remedy = failure.remedy if isinstance(failure, PlatformError) else ""
    if remedy:
        errors.print(_plain(remedy), style="dim")
    if json:
        say_json({"error": str(failure), "remedy": remedy, "fields": violations})
    return True


def exit_code(failure: Exception) -> int:
    """What a command ends with that has failed so."""
    if isinstance(failure, SettingsError | UsageError | Invalid):
        return WRONG_USE
    return NOT_RUNNING if isinstance(failure, NotRunning) else 1


def _plain(text: str) -> str:
    return text.replace("[", r"\[")

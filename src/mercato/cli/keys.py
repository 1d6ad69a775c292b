"""`mercato keys`: the keys that sign users' tokens."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table

from mercato.cli.terminal import DataDir, Json, console, say_json
from mercato.cli.trail import not_recorded
from mercato.embedded import keys
from mercato.embedded.errors import PlatformError
from mercato.embedded.state import DEFAULT_DATA_DIR
from mercato.kernel.clock import rfc3339
from mercato.platform import tokens
from mercato.platform.settings import load
from mercato.platform.tokens import ALGORITHMS, DELAY_S, Algorithm, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """Where the keys of a platform elsewhere are."""

    jwt_keys_file: str = ""
    jwt_jwks_file: str = ""


def list_(*, data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """List the keys: which one signs, which are still known, and until when."""
    private, public = _files(data_dir)
    found = _told(private, public)
    if json:
        say_json({"file": str(private), "keys": found})
        return
    table = Table(box=None, header_style="bold")
    for name in ("id", "algorithm", "state", "signs from", "known until"):
        table.add_column(name, overflow="fold")
    for key in found:
        table.add_row(
            key["id"], key["algorithm"], key["state"], key["signs_from"], key["until"] or "-"
        )
    console.print(table)


def rotate(
    *,
    algorithm: Annotated[
        Algorithm, Parameter(help=f"What the new key signs with: {' or '.join(ALGORITHMS)}.")
    ] = "ES256",
    delay: Annotated[
        int,
        Parameter(
            help="Seconds from its publication until it signs.", validator=Number(gte=0, lte=86_400)
        ),
    ] = DELAY_S,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Make the key that signs next; the one before is known until its tokens have expired."""
    private, public = _files(data_dir)
    try:
        fresh = tokens.rotate(private, public, algorithm, delay)
    except (OSError, ValueError) as failure:
        raise PlatformError(f"the keys in {private} will not do: {failure}") from None
    why = not_recorded(data_dir, "key.rotated", {"key": fresh.id, "algorithm": algorithm})
    if json:
        say_json({"id": fresh.id, "signs_from": _when(fresh.signs_from), "recorded": not why})
    else:
        when = (
            "signs from now on"
            if fresh.signs_from <= time.time()
            else (f"is published, and signs from {_when(fresh.signs_from)}")
        )
        console.print(f"{algorithm} key {fresh.id} {when}", markup=False)
        _say_recorded(why)


def disown(
    key_id: Annotated[
        str, Parameter(help="As `mercato keys list` shows it.", allow_leading_hyphen=True)
    ],
    /,
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Take a key away at once and for good: its tokens are refused; another one signs."""
    private, public = _files(data_dir)
    try:
        fresh = tokens.disown(private, public, key_id)
    except tokens.UnknownKey:
        raise PlatformError(f"there is no key {key_id}", "see: mercato keys list") from None
    except (OSError, ValueError) as failure:
        raise PlatformError(f"the keys in {private} will not do: {failure}") from None
    successor = fresh.id if fresh else ""
    detail = {"disowned": key_id} | ({"key": successor} if successor else {})
    why = not_recorded(data_dir, "key.rotated", detail)
    if json:
        return say_json({"id": key_id, "successor": successor, "recorded": not why})
    console.print(f"key {key_id} is disowned: its tokens are refused from now on", markup=False)
    if fresh:
        console.print(f"{fresh.algorithm} key {fresh.id} signs from now on", markup=False)
    _say_recorded(why)


def _say_recorded(why_not: str) -> None:
    if why_not:
        console.print(f"no security event was recorded: {why_not}", style="dim", markup=False)


def _files(data_dir: Path) -> tuple[Path, Path]:
    """Returns the private and the public file: those of `data_dir`, else of the environment."""
    private, public = keys.files(data_dir)
    if private.exists():
        return private, public
    given = load(KeyFiles)
    if given.jwt_keys_file and given.jwt_jwks_file:
        return Path(given.jwt_keys_file), Path(given.jwt_jwks_file)
    raise PlatformError(
        f"there are no keys in {data_dir}",
        "name the platform's folder with --data-dir, or give JWT_KEYS_FILE and JWT_JWKS_FILE",
    )


def _told(private: Path, public: Path) -> list[dict[str, str]]:
    try:
        known, published = tokens.known(private), tokens.published(private, public)
    except (OSError, ValueError) as failure:
        raise PlatformError(f"the keys in {private} will not do: {failure}") from None
    signing = tokens.signing(published)
    ids = {key.id for key in published}
    return [
        {
            "id": key.id,
            "algorithm": key.algorithm,
            "state": _state(key, signing) if key.id in ids else "not published",
            "signs_from": _when(key.signs_from),
            "until": _when(key.until) if key.until else "",
        }
        for key in known
    ]


def _state(key: Key, signing: Key | None) -> str:
    if signing and key.id == signing.id:
        return "signs"
    return "next" if key.signs_from > time.time() else "known"


def _when(seconds: int) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))

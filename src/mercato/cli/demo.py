"""`mercato demo`: a shopper's whole journey on a running platform, each step checked and shown."""

import time
from contextlib import nullcontext, suppress
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

from mercato.cli.journey import Journey, Unkept
from mercato.cli.rest import Rest
from mercato.cli.terminal import DataDir, Json, console, errors, say_json
from mercato.embedded import state
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.secure.mode import trusting
from mercato.embedded.state import DEFAULT_DATA_DIR


class Shown(msgspec.Struct):
    """One step: what it promised, whether it kept it, and what was seen."""

    promise: str
    kept: bool
    seen: str
    ms: int


def demo(
    *,
    url: Annotated[str, Parameter(help="The gateway's, of a platform elsewhere.")] = "",
    mailbox: Annotated[str, Parameter(help="The URL of its mailbox (or Mailpit), if any.")] = "",
    email: Annotated[str, Parameter(help="An admin there.")] = "",
    password: Annotated[str, Parameter(help="The admin's.", env_var="MERCATO_PASSWORD")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> int:
    """Walk a shopper's whole journey on a running platform, and check each step."""
    if not url:
        known = state.running(data_dir)
        url, mailbox = known.urls.get("gateway", ""), mailbox or known.urls.get("mailbox", "")
        if not email:
            email, password = next(iter(known.logins.items()), ("", ""))
    gateway = Rest(url, tls=trusting(data_dir, url))
    gateway.call("GET", "/livez")  # nobody is asked for an admin of what is not there
    if not (email and password):
        raise UsageError("the demo needs an admin", "name one: --email E --password P")
    journey = Journey(gateway, Rest(mailbox) if mailbox else None, (email, password))
    try:
        shown = _walk(journey, quiet=json)
    finally:
        with suppress(PlatformError):
            journey.tidy()
    kept = all(step.kept for step in shown)
    if json:
        say_json({"url": url, "kept": kept, "steps": shown})
    elif kept:
        console.print(f"[bold green]all {len(shown)} steps[/] showed what they promise")
    else:
        errors.print(
            Text.assemble(("error: ", "bold red"), f"{shown[-1].promise}: {shown[-1].seen}")
        )
    return 0 if kept else 1


def _walk(journey: Journey, *, quiet: bool) -> list[Shown]:
    """Walks until the end, or until a step breaks its promise."""
    shown: list[Shown] = []
    for promise, step in journey.steps():
        began = time.monotonic()
        try:
            with console.status(promise) if not quiet else nullcontext():
                seen, kept = step(), True
        except Unkept as failure:
            seen, kept = str(failure), False
        took_ms = round((time.monotonic() - began) * 1000)
        shown.append(Shown(promise, kept, seen, took_ms))
        if not quiet:
            _show(shown[-1])
        if not kept:
            break
    return shown


def _show(step: Shown) -> None:
    mark = ("✓ ", "green") if step.kept else ("✗ ", "bold red")
    console.print(Text.assemble(mark, (step.promise, "bold"), (f"  {step.ms} ms", "dim")))
    console.print(Text(f"  {step.seen}", style="dim"))

"""`mercato verify`: whether every promise holds; exit code 0 yes, 1 findings, 2 cannot tell."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import uvloop
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table

from mercato.audit.auditing import verify as audit
from mercato.audit.model import Finding, Mend, Report, Severity
from mercato.audit.repair import Repair, in_words, planned
from mercato.cli.shop import found
from mercato.cli.stores import database
from mercato.cli.terminal import DataDir, Json, console, errors, explain, one_line, say_json
from mercato.embedded.errors import PlatformError
from mercato.embedded.state import DEFAULT_DATA_DIR
from mercato.platform.mongo import Store
from mercato.platform.settings import StoreSettings

CLEAN, FINDINGS, CANNOT_TELL = 0, 1, 2
ROUNDS_MAX: Final = 4  # what was mended may bring to light what else there is to mend
MENDED_MAX: Final = 100_000


class Wish(msgspec.Struct, frozen=True):
    """What the command was asked for besides the audit."""

    settled: bool
    examples: int
    json: bool
    repair: bool
    yes: bool
    dry_run: bool


def verify(
    *,
    repair: Annotated[bool, Parameter(help="Mend what can be mended, after asking.")] = False,
    dry_run: Annotated[bool, Parameter(help="Only show what --repair would do.")] = False,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask.")] = False,
    settled: Annotated[bool, Parameter(help="Nothing may be under way any more.")] = False,
    examples: Annotated[
        int, Parameter(help="Show so many findings of each check.", validator=Number(gte=0))
    ] = 5,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> int:
    """Read the databases at one instant and tell which promises do not hold."""
    wish = Wish(settled, examples, json, repair or dry_run, yes, dry_run)
    settings = found(StoreSettings, data_dir)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_verify(settings, wish))
    except PlatformError as failure:  # the audit says nothing, neither good nor bad
        explain(failure, json=json)
        return CANNOT_TELL


async def _verify(s: StoreSettings, wish: Wish) -> int:
    async with database(s) as store:
        report = await _look(store, wish)
        _show(report, wish)
        for _ in range(ROUNDS_MAX if wish.repair else 0):
            mends = planned(report)
            if not mends or not _agreed(mends, wish):
                break
            await _mend(store, mends)
            report = await _look(store, wish)
            _show(report, wish)
    if wish.json:
        say_json(_content(report, wish))
    return CLEAN if report.clean else FINDINGS


async def _look(store: Store, wish: Wish) -> Report:
    findings_max = MENDED_MAX if wish.repair else max(wish.examples, 1)
    return await audit(store, settled=wish.settled, findings_max=findings_max)


def _agreed(mends: Sequence[Mend], wish: Wish) -> bool:
    """Shows what will be done; whether it shall be. Raises PlatformError when nobody can say."""
    say = errors if wish.json else console
    say.print(f"\nto be mended ({len(mends)}):")
    for mend in mends:
        say.print(f"  {in_words(mend)}", markup=False)
    if wish.dry_run or wish.yes:
        return wish.yes and not wish.dry_run
    if not sys.stdin.isatty():
        raise PlatformError("nobody is there to be asked", "say --yes, or look with --dry-run")
    return say.input("do it? [y/N] ").strip().lower() in ("y", "yes")


async def _mend(store: Store, mends: Sequence[Mend]) -> None:
    mending = Repair(store)
    done = await mending.apply(mends)
    rest = "; the rest was no longer needed" if done < len(mends) else ""
    errors.print(f"done: {done} of {len(mends)}{rest}")
    if not await mending.answered():
        errors.print(
            f"{len(mending.told)} outbox rows are not answered yet: a running platform goes on "
            "telling them"
        )


def _show(report: Report, wish: Wish) -> None:
    if wish.json:
        return
    table = Table("check", "looked at", "findings", box=None)
    for check in report.checks.values():
        count = f"[red]{check.findings}[/]" if check.findings else "0"
        table.add_row(check.title, str(check.looked_at), count)
    console.print(table)
    for finding in _examples(report, wish.examples):
        mark = "[yellow]person[/]" if finding.severity is Severity.PERSON else "[red]broken[/]"
        console.print(f"{mark} {finding.check} ", end="")
        console.print(one_line(f"{finding.subject}: {finding.detail}", 600), markup=False)
    console.print(
        f"{report.under_way} orders under way, {report.young} too young to have a reservation "
        f"for certain (left out), {report.foreign} reservations of other programs; "
        f"at {report.at:%Y-%m-%d %H:%M:%S} UTC, in {report.seconds:.1f} s"
    )
    verdict = "[bold red]some do not[/]" if not report.holds else "they do, something waits for you"
    console.print(f"do all promises hold? {'[bold green]yes[/]' if report.clean else verdict}")


def _examples(report: Report, count: int) -> list[Finding]:
    shown: dict[str, int] = {}
    examples = []
    for finding in report.findings:
        shown[finding.check] = shown.get(finding.check, 0) + 1
        if shown[finding.check] <= count:
            examples.append(finding)
    order = list(report.checks)
    return sorted(examples, key=lambda finding: order.index(finding.check))


def _content(report: Report, wish: Wish) -> dict[str, object]:
    return {
        "clean": report.clean,
        "holds": report.holds,
        "at": report.at,
        "seconds": round(report.seconds, 3),
        "under_way": report.under_way,
        "foreign": report.foreign,
        "young": report.young,
        "checks": list(report.checks.values()),
        "findings": _examples(report, wish.examples),
    }

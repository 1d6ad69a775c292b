"""Shows a storm as it goes: a live view on a terminal, a line every few seconds anywhere else."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mercato.storm.report import Report
from mercato.storm.run import Storm

REFRESH_S: Final = 0.5
LINE_EVERY_S: Final = 5.0
BARS: Final = "▁▂▃▄▅▆▇█"
SECONDS_SHOWN: Final = 60
FAULTS_SHOWN: Final = 5


async def watch(storm: Storm, console: Console) -> None:
    """Shows `storm` until it is cancelled."""
    if not console.is_terminal:
        await _lines(storm, console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_view(storm), refresh=True)
            await asyncio.sleep(REFRESH_S)


def conclude(report: Report, console: Console) -> None:
    """The verdict and its figures."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    for claim in report.claims:
        mark = Text("✓", style="green") if claim.kept else Text("✗", style="bold red")
        found = Text(f"{claim.found:g}", style="" if claim.kept else "bold red")
        table.add_row(mark, claim.promise, found, claim.says)
        if claim.examples:
            table.add_row("", "", "", Text(", ".join(claim.examples), style="red"))
    console.print(table)
    for name, value in _figures(report):
        console.print(f"{name:<12}{value}")
    verdict = "[bold green]PASS[/]" if report.passed else "[bold red]FAIL[/]"
    console.print(f"{verdict} seed {report.options.seed}")


async def _lines(storm: Storm, console: Console) -> None:
    said = ""
    while True:
        if storm.phase != said or storm.book:
            said = storm.phase
            console.print(f"{storm.now_s:6.1f} s  {said}{_short(storm)}")
        for _ in range(round(LINE_EVERY_S / REFRESH_S)):
            await asyncio.sleep(REFRESH_S)
            if storm.phase != said:
                break


def _short(storm: Storm) -> str:
    if storm.book is None or storm.faults is None:
        return ""
    text = f": {len(storm.book.acknowledged())} of {storm.options.orders} orders acknowledged"
    text += f", {len(storm.faults.happened)} faults"
    if storm.observer and storm.observer.seen.waiting:
        last = storm.observer.seen.waiting[-1]
        text += f", waiting: {last.orders} orders, {last.rows} rows, {last.mails} mails"
    return text


def _view(storm: Storm) -> RenderableType:
    head = Text.assemble(
        ("mercato storm ", "bold"), f"seed {storm.options.seed}  ", (storm.phase, "cyan")
    )
    if storm.book is None or storm.faults is None or storm.observer is None:
        return head
    acknowledged = [order.acknowledged_s for order in storm.book.acknowledged()]
    done, wanted, happened = len(acknowledged), storm.options.orders, storm.faults.happened
    grid = Table.grid(padding=(0, 2))
    grid.add_row("time", f"{storm.now_s:.0f} s, faults for {storm.options.faults_s:.0f} s")
    grid.add_row("orders", ProgressBar(total=wanted, completed=done, width=40))
    grid.add_row("", f"{done:,} of {wanted:,} acknowledged")
    grid.add_row("each second", Text(sparkline(acknowledged, storm.now_s), style="blue"))
    tries = sum(storm.book.failures.values()) + storm.book.statuses[503]
    grid.add_row("repeated", f"{tries:,} requests without an answer, or answered 503")
    for last in storm.observer.seen.waiting[-1:]:
        grid.add_row("waiting", f"{last.orders} orders, {last.rows} rows, {last.mails} mails")
    kinds = Counter(fault.kind for fault in happened).most_common()
    grid.add_row("faults", f"{len(happened)}: {', '.join(f'{n} {kind}' for kind, n in kinds)}")
    for fault in happened[-FAULTS_SHOWN:]:
        grid.add_row("", Text(f"{fault.at_s:6.1f} s  {fault.kind} {fault.target}", style="dim"))
    wrong = len(storm.observer.seen.unbalanced) + len(storm.book.contradictions)
    if wrong:
        grid.add_row(Text("wrong", style="bold red"), f"{wrong} things so far")
    return Group(head, grid)


def sparkline(moments: Sequence[float], until_s: float) -> str:
    """Returns a bar for each of the last seconds: how many of `moments` lie in it."""
    first = max(0, int(until_s) - SECONDS_SHOWN)
    counts = Counter(int(moment) for moment in moments)
    shown = [counts[second] for second in range(first, int(until_s))]
    most = max(shown, default=0) or 1
    return "".join(BARS[round(count / most * (len(BARS) - 1))] for count in shown)


def _figures(report: Report) -> list[tuple[str, str]]:
    times, accept, request = report.times, report.accept_ms, report.request_ms
    after_s = max(times.faults_s, times.driven_s)
    settled = "never" if times.settled_s is None else f"{times.settled_s - after_s:.1f} s after"
    quiet = "never" if times.quiet_s is None else f"{times.quiet_s - after_s:.1f} s after"
    return [
        ("orders", f"{report.acknowledged:,} acknowledged, {report.acknowledged_during_faults:,} "
         f"of them during {times.faults_s:.0f} s of faults, the last after {times.driven_s:.0f} s; "
         f"{report.orders_a_second:g}/s"),
        ("became", ", ".join(f"{n:,} {state.lower()}" for state, n in report.states.items())),
        ("request", f"p50 {request['p50']:g} ms, p99 {request['p99']:g} ms, answered at once"),
        ("accept", f"p50 {accept['p50']:g} ms, p99 {accept['p99']:g} ms, with all repeats"),
        ("settled", f"{settled} the last fault or answer; quiet {quiet}"),
        ("mails", f"{report.mails:,}, {report.mails_parked} of them parked for a while; "
         f"{report.told_again:,} facts and mails told once more"),
        ("answers", ", ".join(f"{n:,} x {status}" for status, n in report.statuses.items())),
        ("unanswered", ", ".join(f"{n:,} x {why}" for why, n in report.unanswered_tries.items())
         or "nothing"),
        ("faults", f"{len(report.happened)}, {report.restarts} restarts of services: "
         + ", ".join(f"{n} {fault}" for fault, n in report.faults.items())),
    ]  # fmt: skip

"""The report of a benchmark: JSON for programs, a table for people, charts for both."""

import platform as machine
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import psutil

from benchmarks import drawing, tables
from benchmarks.measuring import Measured


class Report(msgspec.Struct, kw_only=True):
    """All of it; `troubles` are workloads that could not be measured, and why."""

    began_at: str
    seconds: float
    runs: int
    machine: str
    results: list[Measured]
    troubles: list[str]

    def found(self, name: str) -> Measured | None:
        return next((each for each in self.results if each.name == name), None)


@dataclass(frozen=True)
class Target:
    """A figure that is wanted, and the limit that stands beside it."""

    name: str
    title: str
    floor: str
    aim: str
    limit: str = ""


TARGETS: Final = (
    Target("order", "order placed, 64 connections, uniform",
           "1,500/s, p99 <= 150 ms, decided within 1 s", "3,000/s", "mongo batch"),
    Target("order zipf", "the same, Zipf", "", "", "mongo batch"),
    Target("order one", "the same, one hot SKU", "within 10 % of uniform", "faster", "mongo batch"),
    Target("ratio", "ratio to one transaction per order, same run", "4x", "8x"),
    Target("reserved", "order placed until its stock is RESERVED", "", "", "mongo batch"),
    Target("product hot", "product by id, hot set", "12,000/s, p99 <= 15 ms", "20,000/s", "http"),
    Target("product uniform", "product by id, uniform", "2,500/s", "5,000/s", "http"),
    Target("list", "list of 20", "2,500/s", "5,000/s", "http"),
    Target("order read", "order read by its owner", "2,500/s", "5,000/s", "http"),
    Target("history", "order list of a user with 10,000 orders", "", "", "http"),
    Target("mixed", "mixed, 90 % reads", "", ""),
    Target("login", "login", "", ""),
    Target("import", "import", "10,000 products/s", "30,000/s", "mongo batch"),
    Target("cpu", "CPU per placed order, without the clients", "700 us", "400 us"),
    Target("start", "cold start to ready", "6 s", "3 s"),
    Target("memory", "idle memory, everything", "700 MB", "450 MB"),
)  # fmt: skip


def of(
    began: datetime, seconds: float, runs: int, results: Sequence[Measured], troubles: list[str]
) -> Report:
    cores = f"{psutil.cpu_count()} processors, {_processor()}"
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    about = f"{cores}, {memory}, {machine.system()} {machine.release()}, "
    about += f"Python {machine.python_version()}"
    at = began.astimezone(UTC).isoformat(timespec="seconds")
    return Report(
        began_at=at, seconds=seconds, runs=runs, machine=about, results=list(results),
        troubles=troubles,
    )  # fmt: skip


def write(report: Report, folder: Path) -> None:
    """Writes report.json, report.txt, report.md and the charts that there is something for."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    (folder / "report.txt").write_text(table(report))
    (folder / "report.md").write_text(markdown(report))
    for name, drawn in drawing.charts(report.results):
        (folder / f"{name}.svg").write_text(drawn)


def markdown(report: Report) -> str:
    """Returns what docs/performance.md shows: the figures beside floors and aims."""
    head = ("workload", "floor", "aim", "reached", "of the limit")
    rows = [
        (target.title, target.floor, target.aim, _reached(report, target), _share(report, target))
        for target in TARGETS
    ]
    limits = [
        (each.title, f"{each.value:,.0f}/s")
        for each in report.results
        if each.name.startswith("limit ")
    ]
    said = f"{report.machine}; {report.runs} x {report.seconds:g} s each; "
    said += f"{report.began_at}."
    parts = [said, "", *tables.grid(head, [row for row in rows if row[3]])]
    parts += ["", *tables.grid(("a part alone", "reached"), limits)] if limits else []
    for section in tables.sections(report.results):
        parts += ["", *section]
    return "\n".join([*parts, *(f"\nNot measured: {each}" for each in report.troubles)]) + "\n"


def table(report: Report) -> str:
    """Returns every figure, a line each, with its latencies and its price."""
    width = max((len(each.title) for each in report.results), default=0)
    found = [report.machine, f"{report.runs} runs of {report.seconds:g} s", ""]
    for each in report.results:
        found.append(f"{each.title:<{width}}  {each.value:>12,.1f} {each.unit:<10} {_more(each)}")
    for section in tables.sections(report.results):
        found += ["", *section]
    return "\n".join([*found, *(f"NOT MEASURED: {each}" for each in report.troubles)]) + "\n"


def _more(each: Measured) -> str:
    parts = [f"{name} {ms:,.1f} ms" for name, ms in each.latency_ms.items()]
    parts += [f"{name} after {s:.1f} s" for name, s in each.after_s.items()]
    parts += [f"{each.platform_us:,.0f} us of processor"] if each.cpu_us else []
    parts += [each.verdict] if each.verdict else []
    return ", ".join(parts)


def _reached(report: Report, target: Target) -> str:
    measured = report.found("order" if target.name == "cpu" else target.name)
    if target.name in ("import", "history"):  # the greatest of them counts
        sizes = [each for each in report.results if each.name == target.name]
        measured = max(sizes, key=lambda each: each.size, default=None)
    if measured is None:
        return ""
    if target.name == "cpu":
        return f"{measured.platform_us:,.0f} us"
    form = {"s": "{:.1f} s", "x": "{:.1f}x", "MB": "{:,.0f} MB"}.get(measured.unit)
    if form:
        return form.format(measured.value)
    said = f"{measured.value:,.0f}{'/s' if measured.unit == '/s' else ' ' + measured.unit}"
    if "p99" in measured.latency_ms:
        said += f", p99 {measured.latency_ms['p99']:,.0f} ms"
    if "stock decided" in measured.after_s:
        said += f", decided {measured.after_s['stock decided']:.1f} s after the last"
    return said


def _share(report: Report, target: Target) -> str:
    limit, measured = report.found(f"limit {target.limit}"), report.found(target.name)
    if limit is None or measured is None:
        return ""
    return f"{measured.value / limit.value:.0%} of {limit.title.partition(',')[0]}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else machine.machine()

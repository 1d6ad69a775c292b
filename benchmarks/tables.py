"""The tables of a report that have more than a line for each figure: sizes, memory, copies."""

from collections.abc import Iterator, Sequence

from benchmarks.drawing import GROWTH
from benchmarks.measuring import Measured
from benchmarks.memory import growth


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a table in Markdown; none without rows."""
    whole = (head, ["---" for _ in head], *rows) if rows else ()
    return [f"| {' | '.join(row)} |" for row in whole]


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a table whose columns are columns in plain text too."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    whole = [head, ["-" * width for width in widths], *rows] if rows else []
    return [
        f"| {' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))} |"
        for row in whole
    ]


def against_size(results: Sequence[Measured]) -> list[str]:
    """Returns what each operation costs at each size, and the last cost over the first."""
    grown = [each for each in results if each.name in GROWTH.values()]
    sizes = sorted({each.size for each in grown})
    head = ["cost against size", *(f"{size:,}" for size in sizes), "last / first"]
    rows = []
    for shown, name in GROWTH.items():
        found = {each.size: each for each in grown if each.name == name}
        if found:
            ratio = found[max(found)].platform_us / found[min(found)].platform_us
            cells = [_cost(found[size]) if size in found else "" for size in sizes]
            rows.append([shown, *cells, f"{ratio:.2f}"])
    return aligned(head, rows)


def against_orders(results: Sequence[Measured]) -> list[str]:
    """Returns what each process held at the start, in the middle and at the end of the orders."""
    lines: list[str] = []
    for each in (each for each in results if each.samples):
        points = [each.samples[n] for n in (0, len(each.samples) // 2, -1)]
        head = ["MB after so many orders", *(f"{orders:,.0f}" for orders, _ in points)]
        grown = growth(each.samples)
        rows = [
            [name, *(f"{mb.get(name, 0.0):,.1f}" for _, mb in points), f"{grown[name]:+.1f}"]
            for name in sorted(each.memory_mb, key=lambda name: -each.memory_mb[name])
        ]
        lines += [*aligned([*head, "growth per 100,000"], rows), "", f"Verdict: {each.verdict}."]
    return lines


def of_copies(results: Sequence[Measured]) -> list[str]:
    """Returns the same loads with one and with two copies of a service."""
    found = [each for each in results if each.name.startswith("copies ")]
    rows = [[each.title, _rate(each), each.verdict] for each in found]
    return aligned(["a second copy", "reached", "meanwhile"], rows)


def sections(results: Sequence[Measured]) -> Iterator[list[str]]:
    """Yields the tables that there is something for."""
    for lines in (against_size(results), against_orders(results), of_copies(results)):
        if lines:
            yield lines


def _cost(each: Measured) -> str:
    return f"{each.platform_us:,.0f} us, {each.latency_ms.get('p50', 0.0):,.1f} ms"


def _rate(each: Measured) -> str:
    return f"{each.value:,.2f}x" if each.unit == "x" else f"{each.value:,.0f}{each.unit}"

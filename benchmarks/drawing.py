"""Which charts a report has: those that something was measured for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from benchmarks import chart
from benchmarks.measuring import Measured

# One request in so many is slower than the percentile.
ONE_IN: Final = {"p50": 2, "p90": 10, "p99": 100, "p99.9": 1000}
GROWTH: Final = {
    "product by id": "growth product", "product list of 20": "growth list",
    "text search": "growth search", "order read": "growth order_read",
    "order list": "growth order_list", "order placed": "growth order",
}  # fmt: skip

Of = Callable[[Measured], float]
Chart = tuple[str, str]  # a name, and SVG


def charts(results: Sequence[Measured]) -> Iterator[Chart]:
    """Yields the charts by name."""
    yield from _against(
        results, "throughput", "Throughput against connections", "connections", "/s",
        {"products": "sweep product", "orders": "sweep order"}, _connections, _value,
    )  # fmt: skip
    yield from _against(
        results, "growth", "Cost against size", "products and orders", "us of processor a request",
        GROWTH, _size, _spent,
    )  # fmt: skip
    yield from _against(
        results, "growth-latency", "Latency (p50) against size", "products and orders", "ms",
        GROWTH, _size, lambda each: each.latency_ms["p50"],
    )  # fmt: skip
    yield from _against(
        results, "history", "Cost against what a user has ordered", "orders",
        "us of processor a request", {"order list": "history"}, _size, _spent,
    )  # fmt: skip
    yield from _requests(results)
    yield from _memory(results)


def _connections(each: Measured) -> float:
    return each.connections


def _size(each: Measured) -> float:
    return each.size


def _value(each: Measured) -> float:
    return each.value


def _spent(each: Measured) -> float:
    return each.platform_us


def _against(
    results: Sequence[Measured], file: str, title: str, x_name: str, y_name: str,
    wanted: Mapping[str, str], x: Of, y: Of,
) -> Iterator[Chart]:  # fmt: skip
    series = {
        shown: [(x(each), y(each)) for each in results if each.name == name]
        for shown, name in wanted.items()
    }
    series = {shown: points for shown, points in series.items() if points}
    if series:
        yield file, chart.lines(title, x_name, y_name, series)


def _requests(results: Sequence[Measured]) -> Iterator[Chart]:
    """Latency and processor time of what is in no other chart."""
    elsewhere = ("sweep", "growth", "history", "copies")
    plain = [
        each
        for each in results
        if set(ONE_IN) <= set(each.latency_ms) and not each.name.startswith(elsewhere)
    ]
    if plain:
        slow = {e.title: [(ONE_IN[p], e.latency_ms[p]) for p in ONE_IN] for e in plain}
        yield "latency", chart.lines("Latency", "one request in so many is slower", "ms", slow)
        spent = {e.title: e.cpu_us for e in plain}
        yield "processor", chart.bars("Processor time a request, by process", "us", spent)


def _memory(results: Sequence[Measured]) -> Iterator[Chart]:
    for each in results:
        if each.name == "memory" and each.memory_mb:
            yield "memory", chart.bars("Idle memory", "MB", {"idle": each.memory_mb})
        if each.samples:
            series = {
                name: [(orders, mb.get(name, 0.0)) for orders, mb in each.samples]
                for name in each.memory_mb
            }
            drawn = chart.lines("Memory against orders", "orders", "MB", series, straight=True)
            yield "memory-orders", drawn

"""Figures can be trusted: percentiles, medians, Zipf's law, charts, and waits that count."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from random import Random

import pytest
from benchmarks import chart, report
from benchmarks.figures import Choice, Histogram, median, medians
from benchmarks.measuring import Measured, gathered


def test_a_percentile_is_right_to_two_percent() -> None:
    taken = Histogram()
    for ms in range(1, 1001):
        taken.add(ms / 1000)
    for percent, expected_s in ((50, 0.5), (90, 0.9), (99, 0.99), (100, 1.0)):
        assert expected_s <= taken.percentile_s(percent) <= expected_s * 1.021


def test_histograms_add_up() -> None:
    one, other = Histogram(), Histogram()
    one.add(0.001)
    other.add(1.0)
    other.add(1.0)
    one.merge(Histogram(other.counts))
    assert one.total == 3
    assert one.percentile_s(50) >= 1.0
    assert Histogram().percentiles_ms() == {"p50": 0, "p90": 0, "p99": 0, "p99.9": 0}


def test_what_took_no_time_is_counted() -> None:
    taken = Histogram()
    taken.add(0.0)
    assert taken.total == 1


def test_a_median_is_the_middle() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert median([]) == 0
    assert medians([{"a": 1}, {"a": 3, "b": 4}, {"a": 2, "b": 6}]) == {"a": 2, "b": 4}


def test_by_zipf_the_first_is_asked_for_twice_as_often_as_the_second() -> None:
    drawn = Counter(_drawn("zipf", 1000, 50_000))
    assert 1.8 < drawn[0] / drawn[1] < 2.2
    assert 8 < drawn[0] / drawn[9] < 12.5
    assert set(drawn) <= set(range(1000))


def test_uniform_choices_reach_everything_and_one_is_one() -> None:
    drawn = Counter(_drawn("uniform", 10, 10_000))
    assert set(drawn) == set(range(10))
    assert max(drawn.values()) < 1.3 * min(drawn.values())
    assert set(_drawn("one", 10, 100)) == {0}
    with pytest.raises(ValueError, match="no way to choose"):
        Choice("some", 10, Random(1))


def test_charts_are_svg_and_show_every_point() -> None:
    series = {"by <id>": [(1.0, 10.0), (100.0, 20.0)], "list": [(10.0, 5.0)]}
    drawn = ElementTree.fromstring(chart.lines("Cost", "products", "us", series))  # noqa: S314
    assert len(drawn.findall(".//{*}circle")) == 3
    assert "by <id>" in [each.text for each in drawn.iter()]
    rows = {"order": {"mongo": 300.0, "gateway": 100.0}, "read": {"gateway": 50.0}}
    bars = ElementTree.fromstring(chart.bars("CPU", "us", rows))  # noqa: S314
    widths = [float(each.attrib["width"]) for each in bars.findall(".//{*}rect[@y='40']")]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.01)


@pytest.mark.parametrize("series", [{}, {"none": []}, {"zero": [(0.0, 1.0)]}])
def test_a_chart_of_nothing_is_refused(series: dict[str, list[tuple[float, float]]]) -> None:
    with pytest.raises(ValueError, match="a chart needs points"):
        chart.lines("Cost", "products", "us", series)


def test_a_report_sets_what_was_reached_beside_floor_and_limit() -> None:
    runs = [_order(1000, 90), _order(3000, 110), _order(2000, 100)]
    limit = Measured(
        name="limit mongo batch", title="mongod, alone", unit="/s", value=8000, runs=[]
    )
    whole = report.Report(
        began_at="now", seconds=1, runs=3, machine="here", results=[gathered(runs), limit],
        troubles=["login: refused"],
    )  # fmt: skip
    shown = report.markdown(whole)
    assert "| 1,500/s, p99 <= 150 ms, decided within 1 s | 3,000/s | 2,000/s, p99 100 ms" in shown
    assert "25% of mongod" in shown
    assert "| 700 us | 400 us | 300 us |" in shown
    assert "Not measured: login: refused" in shown
    assert "300 us of processor" in report.table(whole)


def _order(rate: float, p99_ms: float) -> Measured:
    return Measured(
        name="order", title="order placed", unit="/s", value=rate, runs=[rate],
        latency_ms={"p99": p99_ms}, cpu_us={"mongo": 200.0, "order": 100.0, "clients": 50.0},
        after_s={"stock decided": 0.5},
    )  # fmt: skip


def _drawn(kind: str, count: int, times: int) -> list[int]:
    choose = Choice(kind, count, Random(7))
    return [choose() for _ in range(times)]

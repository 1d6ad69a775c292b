"""What has grown is told truly: copies like their originals, slopes, verdicts, ratios."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from random import Random

import bson
import msgspec
import pytest
from benchmarks import chart, copies, drawing, memory, tables
from benchmarks.copying import Family, id_names
from benchmarks.figures import slope
from benchmarks.jobs import Job, Stage, requests
from benchmarks.measuring import Measured
from benchmarks.shop import product_names
from benchmarks.workloads import steps
from bson import ObjectId

ORDERS = [1_000.0 * n for n in range(1, 41)]


def test_a_copy_has_other_names_and_the_same_shape() -> None:
    old, user, new = ObjectId(), ObjectId(), ObjectId()
    order = {"_id": old, "user_id": user, "items": [{"quantity": 2, "name": "Thing 0000007"}]}
    mail = {"_id": f"{old}:order-confirmed", "message_id": f"{old}.order-confirmed@shop.example"}
    told = tuple((name, bson.encode(each)) for name, each in (("orders", order), ("mails", mail)))
    family = Family([*id_names(old), b"Thing 0000007"], told)
    names = [*id_names(new), b"Thing 0000042"]
    copied = {name: bson.decode(document.raw) for name, document in family.renamed(names)}
    assert copied["orders"] == {
        "_id": new, "user_id": user, "items": [{"quantity": 2, "name": "Thing 0000042"}],
    }  # fmt: skip
    assert copied["mails"]["_id"] == f"{new}:order-confirmed"
    assert copied["mails"]["message_id"].startswith(f"{new}.")


def test_a_name_of_another_length_is_refused() -> None:
    family = Family([b"Thing 7"], (("products", bson.encode({"name": "Thing 7"})),))
    with pytest.raises(ValueError, match="as long as"):
        list(family.renamed([b"Thing 42"]))


def test_the_names_of_a_million_products_are_equally_long_and_their_own() -> None:
    first, last = product_names(0), product_names(999_999)
    assert list(map(len, first)) == list(map(len, last))
    assert product_names(19)[2] == first[2] != product_names(20)[2]
    assert len({product_names(n)[0] for n in range(1_000)}) == 1_000


def test_a_search_is_for_a_word_that_there_is(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    path.write_bytes(msgspec.json.encode(Stage(["p" * 24], series=2)))
    ask = requests(Job("search", 1, str(path), 1, 1.0))
    assert {ask().split(b" ")[1][-12:] for _ in range(50)} == {b"series000000", b"series000001"}


def test_steps_are_tenfold_and_end_where_they_should() -> None:
    assert steps(1_000_000) == [1_000, 10_000, 100_000, 1_000_000]
    assert steps(5_000) == [1_000, 5_000]
    assert steps(500) == [500]


def test_a_slope_is_that_of_the_line_through_the_noise() -> None:
    noise = Random(7)
    points = [(x, 100 + 0.001 * x + noise.uniform(-1, 1)) for x in ORDERS]
    assert slope(points) == pytest.approx(0.001, rel=0.1)
    assert slope([(1.0, 5.0)]) == slope([]) == 0


def test_memory_that_grows_after_the_first_half_is_not_flat() -> None:
    samples = [(x, {"gateway": 80.0, "order": 60 + x / 5_000, "user": 90.0}) for x in ORDERS]
    for _, mb in samples[:10]:
        mb["user"] = 50.0  # still warming up
    grown = memory.growth(samples)
    assert grown == pytest.approx({"gateway": 0, "order": 20, "user": 0}, abs=1e-6)
    told = memory.verdict(grown, samples[-1][1], 200_000)
    assert told == "not flat: order +20 MB in 100,000 orders"
    assert memory.verdict({"order": 4.9}, {"order": 60.0}, 200_000) == "flat"
    assert memory.verdict(grown, samples[-1][1], 99_000).startswith("too few")


def test_a_table_shows_cost_at_each_size_and_the_ratio_of_the_last() -> None:
    results = [_grown(1_000, 200.0), _grown(10_000, 250.0)]
    head, _, row = tables.against_size(results)
    assert [cell.strip() for cell in head.split("|")[2:-1]] == ["1,000", "10,000", "last / first"]
    assert "200 us, 3.0 ms" in row
    assert row.rstrip(" |").endswith("1.25")
    assert "growth" in dict(drawing.charts(results))
    assert list(tables.sections([])) == []


def test_what_memory_came_to_is_a_table_and_a_chart() -> None:
    soak = Measured(
        name="soak", title="memory", unit="MB/100k", value=0, runs=[], memory_mb={"order": 68.0},
        samples=[(x, {"order": 60 + x / 5_000}) for x in ORDERS], verdict="flat",
    )  # fmt: skip
    lines = tables.against_orders([soak])
    assert "+20.0" in lines[2]
    assert lines[-1] == "Verdict: flat."
    drawn = ElementTree.fromstring(dict(drawing.charts([soak]))["memory-orders"])  # noqa: S314
    assert "40,000" in [each.text for each in drawn.iter()]


def test_a_straight_chart_keeps_distances() -> None:
    drawn = chart.lines("t", "x", "y", {"a": [(1.0, 1.0), (2.0, 1.0), (4.0, 1.0)]}, straight=True)
    circles = ElementTree.fromstring(drawn).findall(".//{*}circle")  # noqa: S314
    xs = [float(each.attrib["cx"]) for each in circles]
    assert xs[2] - xs[1] == pytest.approx(2 * (xs[1] - xs[0]), abs=0.2)


def test_two_copies_are_told_beside_one() -> None:
    spent = {"inventory-1": 600.0, "redis": 100.0, "clients": 300.0}
    runs = {("list", count): [_copies(1_000.0 * count, spent)] for count in (1, 2)}
    one, two, ratio = copies.ratios(runs)
    assert one.title == "lists, one copy of inventory"
    assert one.verdict.startswith("inventory 60% of a processor")
    assert two.verdict.startswith("inventory 120% of a processor")
    assert (ratio.value, ratio.unit) == (2, "x")
    assert len(tables.of_copies([one, two, ratio])) == 5


def _grown(size: int, us: float) -> Measured:
    return Measured(
        name="growth product", title="product by id", unit="/s", value=1, runs=[1], size=size,
        cpu_us={"gateway": us, "clients": 50.0}, latency_ms={"p50": 3.0},
    )  # fmt: skip


def _copies(rate: float, spent: dict[str, float]) -> Measured:
    return Measured(
        name="copies list", title="lists", unit="/s", value=rate, runs=[rate], cpu_us=spent
    )

"""What an audit has found is mended by entries that compensate, and history stays as it was."""

from typing import Any

import pytest
from bson import ObjectId

from mercato.audit.model import Verb
from mercato.audit.repair import Repair, in_words, planned
from tests.audit.books import Audited
from tests.audit.test_damage import HELD, REJECTED, RELEASED, SOLD


async def mend(audited: Audited) -> list[Verb]:
    """Repairs once; returns what was done, after showing that the ledger has only grown."""
    before = await ledger(audited)
    mends = planned(await audited.report())
    done = await Repair(audited.store).apply(mends)
    assert 1 <= done <= len(mends), "a mend may make another one needless"
    after = await ledger(audited)
    assert before.items() <= after.items(), "history was edited"
    assert await Repair(audited.store).apply(mends) == 0, "a repair may be repeated"
    return [each.verb for each in mends]


async def ledger(audited: Audited) -> dict[str, int]:
    rows = await audited.store["stock_ledger"].find().to_list()
    return {row["_id"]: row["delta"] for row in rows}


async def stock(audited: Audited) -> Any:
    product = await audited.store["products"].find_one({"_id": audited.product})
    assert product is not None
    return product["stock"]


async def reservation(audited: Audited, order: ObjectId) -> tuple[str, dict[ObjectId, int]]:
    found = await audited.store["reservations"].find_one({"_id": order})
    assert found is not None
    return found["state"], {item["product_id"]: item["quantity"] for item in found["items"]}


@pytest.mark.parametrize("units", [-1, 1])
async def test_stock_that_nothing_explains_is_kept_and_explained(
    audited: Audited, units: int
) -> None:
    await audited.store["products"].update_one({"_id": audited.product}, {"$inc": {"stock": units}})
    found = await stock(audited)
    assert await mend(audited) == [Verb.EXPLAIN]
    assert await audited.found() == set()
    assert await stock(audited) == found
    entry = await audited.store["stock_ledger"].find_one({"_id": f"{audited.product}:audit:1"})
    assert entry is not None
    assert (entry["delta"], entry["cause"], entry["by"]) == (units, "audit", "audit")
    await audited.store["products"].update_one({"_id": audited.product}, {"$inc": {"stock": units}})
    assert await mend(audited) == [Verb.EXPLAIN]
    assert await audited.found() == set()


@pytest.mark.parametrize("end", [HELD, SOLD, RELEASED])
async def test_ledger_rows_that_are_lost_are_entered_again(audited: Audited, end: int) -> None:
    before = await ledger(audited)
    await audited.lose_ledger_of(audited.orders[end])
    assert Verb.ENTER in await mend(audited)
    assert await audited.found() == set()
    assert await ledger(audited) == before


@pytest.mark.parametrize("end", [HELD, SOLD, RELEASED])
async def test_a_reservation_that_is_lost_is_written_again_from_the_ledger(
    audited: Audited, end: int
) -> None:
    order = audited.orders[end]
    before = await reservation(audited, order)
    await audited.lose("reservations", order)
    assert await mend(audited) == [Verb.BOOK]
    assert await audited.found() == set()
    assert await reservation(audited, order) == before


async def test_the_reservation_of_another_program_is_written_again_too(audited: Audited) -> None:
    order = audited.orders[HELD]
    await audited.lose("orders", order)
    await audited.lose("mails", f"{order}:order-confirmed")
    await audited.lose("reservations", order)
    assert await audited.found() == {
        ("ledger", str(order)), *(("stock", str(p)) for p in audited.keeper.products[:2])
    }  # fmt: skip
    assert await mend(audited) == [Verb.BOOK]
    assert await audited.found() == set()


@pytest.mark.parametrize("name", ["a copy by hand", ObjectId("f" * 24)])
async def test_a_ledger_row_that_no_service_has_named_books_no_reservation(
    audited: Audited, name: str | ObjectId
) -> None:
    row = {
        "_id": name, "product_id": audited.product, "delta": -1, "cause": "held",
        "by": f"order:{audited.orders[HELD]}", "reason": "", "at": audited.keeper.at,
    }  # fmt: skip
    ledger: Any = audited.store["stock_ledger"]
    await ledger.insert_one(row)
    assert ("ledger", str(name)[:24]) in await audited.found()
    assert await mend(audited) == [Verb.EXPLAIN]
    assert await audited.store["reservations"].count_documents({}) == len(audited.orders)
    assert ("ledger", str(name)[:24]) in await audited.found(), "a person has to look"


async def test_units_that_were_moved_without_cause_are_entered_against(audited: Audited) -> None:
    order, product = audited.orders[REJECTED], audited.product
    row = {
        "_id": f"{order}:{product}:held", "product_id": product, "delta": -4, "cause": "held",
        "by": f"order:{order}", "reason": "", "at": audited.keeper.at,
    }  # fmt: skip
    await audited.store["stock_ledger"].insert_one(row)
    assert Verb.LEVEL in await mend(audited)
    assert await audited.found() == set()
    entry = await audited.store["stock_ledger"].find_one({"_id": f"{order}:{product}:audit:1"})
    assert entry is not None
    assert (entry["delta"], entry["by"]) == (4, f"order:{order}")


async def test_an_order_is_told_again_only_where_inventory_would_not_take_its_units_twice(
    audited: Audited,
) -> None:
    order = audited.orders[HELD]
    await audited.lose("reservations", order)
    (before_loss,) = {m for m in planned(await audited.report())}
    assert before_loss.verb is Verb.BOOK
    rows = await audited.store["stock_ledger"].find({"_id": {"$regex": f"^{order}:"}}).to_list()
    await audited.lose_ledger_of(order)
    mends = [m for m in planned(await audited.report()) if m.subject == str(order)]
    assert [(m.verb, m.what) for m in mends] == [(Verb.TELL, "order.created")]
    await audited.store["stock_ledger"].insert_many(rows)
    assert await Repair(audited.store).apply(mends) == 0
    assert await audited.store["order_outbox"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("end", "told"),
    [(HELD, ["order.created"]), (SOLD, ["order.created", "order.completed"]),
     (REJECTED, ["order.cancelled"])],
)  # fmt: skip
async def test_an_order_without_any_trace_in_inventory_is_told_again(
    audited: Audited, end: int, told: list[str]
) -> None:
    order = audited.orders[end]
    await audited.lose("reservations", order)
    if end != REJECTED:
        await audited.lose_ledger_of(order)
    answer = {"_id": f"{order}:stock.reserved", "state": "closed"}  # stays for a day
    await audited.store["inventory_outbox"].insert_one(answer)
    mends = [m for m in planned(await audited.report()) if m.subject == str(order)]
    repair = Repair(audited.store)
    assert await repair.apply(mends) == len(told)
    rows = await audited.store["order_outbox"].find({"not_before": {"$exists": True}}).to_list()
    assert {row["_id"] for row in rows} == {f"{order}:{subject}" for subject in told}
    left = await audited.store["inventory_outbox"].count_documents({})
    assert left == 0, "inventory could not answer as if for the first time"
    assert not await repair.answered(within_s=0), "nobody is there to answer"
    assert ("reservations", str(order)) not in await audited.found(), "it is under way"


@pytest.mark.parametrize(
    ("end", "damage"),
    [(SOLD, {"state": "REJECTED", "items": []}), (HELD, {"items.0.quantity": 7}),
     (HELD, {"state": "RELEASED"})],
)  # fmt: skip
async def test_what_only_a_person_can_decide_is_left_alone(
    audited: Audited, end: int, damage: dict[str, Any]
) -> None:
    order = audited.orders[end]
    await audited.change("reservations", order, **damage)
    report = await audited.report()
    found = {(finding.check, finding.subject) for finding in report.findings}
    assert {("reservations", str(order)), ("ledger", str(order))} <= found
    assert planned(report) == []


async def test_a_mend_says_in_words_what_it_will_do(audited: Audited) -> None:
    await audited.lose("mails", f"{audited.keeper.buyer}:welcome")
    (mail,) = planned(await audited.report())
    assert in_words(mail) == (
        f"put the mail welcome of {audited.keeper.buyer} on its way again "
        "(twice, if it had been sent)"
    )
    assert ObjectId(mail.subject) == audited.keeper.buyer

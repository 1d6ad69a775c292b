"""Every kind of damage, made by hand in the database, is found and named; nothing else is."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from mercato.audit.auditing import verify
from mercato.audit.model import Severity
from mercato.kernel.identity import new_id
from mercato.platform.settings import SettingsError
from tests.audit.books import Audited, put

HELD, SOLD, RELEASED, REJECTED = range(4)


async def test_books_that_balance_have_no_findings(audited: Audited) -> None:
    report = await audited.report()
    assert report.findings == []
    assert report.clean
    looked_at = {name: check.looked_at for name, check in report.checks.items()}
    assert looked_at == {
        "stock": 3, "ledger": 8, "reservations": 8, "orders": 8, "mails": 13, "stuck_mails": 13,
        "outbox": 0, "dead_letters": 0,
    }  # fmt: skip
    assert await audited.found(settled=True) == set()


@pytest.mark.parametrize("units", [-1, 1])
async def test_a_unit_that_is_lost_or_found_is_a_finding(audited: Audited, units: int) -> None:
    stock = {"$inc": {"stock": units}}
    await audited.store["products"].update_one({"_id": audited.product}, stock)
    assert await audited.found() == {("stock", str(audited.product))}


async def test_negative_stock_is_a_finding(audited: Audited) -> None:
    products = audited.store["products"]
    change = {"$set": {"stock": -1}}
    await products.update_one({"_id": audited.product}, change, bypass_document_validation=True)
    found = await audited.report()
    assert any("negative" in finding.detail for finding in found.findings)


async def test_a_product_that_is_gone_is_a_finding_unless_it_was_erased(audited: Audited) -> None:
    erased = ObjectId(new_id())
    entries = [
        {"_id": f"{erased}:{cause}", "product_id": erased, "delta": delta, "cause": cause,
         "by": "admin:x", "reason": "", "at": datetime.now(UTC)}
        for cause, delta in (("initial", 5), ("erased", -5))
    ]  # fmt: skip
    await put(audited.store, {"stock_ledger": entries})
    assert await audited.found() == set()
    await audited.lose("products", audited.product)
    assert await audited.found() == {("stock", str(audited.product))}


@pytest.mark.parametrize("end", [HELD, SOLD, RELEASED])
async def test_a_ledger_row_that_is_lost_is_a_finding(audited: Audited, end: int) -> None:
    order = audited.orders[end]
    product = audited.keeper.products[end % 3]
    await audited.lose("stock_ledger", f"{order}:{product}:held")
    assert await audited.found() == {("ledger", str(order)), ("stock", str(product))}


@pytest.mark.parametrize(("end", "cause"), [(HELD, "held"), (RELEASED, "released")])
async def test_units_that_were_moved_twice_are_a_finding(
    audited: Audited, end: int, cause: str
) -> None:
    order, product = audited.orders[end], audited.product
    row = {
        "_id": f"{order}:{product}:{cause}:again", "product_id": product, "delta": 2,
        "cause": cause, "by": f"order:{order}", "reason": "", "at": datetime.now(UTC),
    }  # fmt: skip
    await audited.store["stock_ledger"].insert_one(row)
    await audited.store["products"].update_one({"_id": product}, {"$inc": {"stock": 2}})
    found = await audited.found()
    assert ("ledger", str(order)) in found
    assert found <= {("ledger", str(order)), ("stock", str(product))}


async def test_a_refused_order_that_took_units_is_a_finding(audited: Audited) -> None:
    order, product = audited.orders[REJECTED], audited.product
    row = {
        "_id": f"{order}:{product}:held", "product_id": product, "delta": -1, "cause": "held",
        "by": f"order:{order}", "reason": "", "at": datetime.now(UTC),
    }  # fmt: skip
    await audited.store["stock_ledger"].insert_one(row)
    await audited.store["products"].update_one({"_id": product}, {"$inc": {"stock": -1}})
    assert await audited.found() == {("ledger", str(order)), ("stock", str(product))}


@pytest.mark.parametrize("end", [HELD, SOLD, RELEASED, REJECTED])
async def test_a_reservation_that_is_lost_is_a_finding(audited: Audited, end: int) -> None:
    order = audited.orders[end]
    await audited.lose("reservations", order)
    assert ("reservations", str(order)) in await audited.found()


@pytest.mark.parametrize(
    ("end", "state"),
    [(HELD, "SOLD"), (HELD, "RELEASED"), (HELD, "REJECTED"), (SOLD, "HELD"), (SOLD, "RELEASED"),
     (RELEASED, "HELD"), (RELEASED, "SOLD"), (REJECTED, "HELD")],
)  # fmt: skip
async def test_a_reservation_in_another_state_than_its_order_is_a_finding(
    audited: Audited, end: int, state: str
) -> None:
    order = audited.orders[end]
    await audited.change("reservations", order, state=state)
    assert ("reservations", str(order)) in await audited.found()


async def test_a_reservation_for_other_items_is_a_finding(audited: Audited) -> None:
    order = audited.orders[HELD]
    await audited.change("reservations", order, **{"items.0.quantity": 7})
    assert ("reservations", str(order)) in await audited.found()


async def test_an_order_that_waits_is_a_finding_once_nobody_is_told_of_it(
    audited: Audited,
) -> None:
    order = audited.orders[HELD]
    await audited.lose("mails", f"{order}:order-confirmed")
    history = [{"at": audited.keeper.at, "by": "x", "action": "placed", "detail": ""}]
    await audited.change("orders", order, stock="AWAITING", history=history)
    assert await audited.found() == {("reservations", str(order))}
    await audited.add_row(order, "order.created", age_s=60)
    assert await audited.found() == set()
    assert (await audited.report()).under_way == 1
    late = f"{order}:order.created"
    assert await audited.found(settled=True) == {("outbox", late)}
    await audited.lose("order_outbox", late)
    await audited.add_row(order, "order.created", age_s=121)
    assert await audited.found() == {("outbox", late)}


async def test_an_order_in_its_first_minute_is_not_judged_yet(audited: Audited) -> None:
    order = audited.orders[HELD]
    await audited.change("orders", order, created_at=datetime.now(UTC), status="COMPLETED")
    await audited.lose("mails", f"{order}:order-confirmed")
    assert ("reservations", str(order)) not in await audited.found()
    assert ("reservations", str(order)) in await audited.found(settled=True)


@pytest.mark.parametrize("trace", ["mail", "outbox row"])
async def test_an_order_of_ours_that_is_gone_is_a_finding(audited: Audited, trace: str) -> None:
    order = audited.orders[HELD]
    await audited.lose("orders", order)
    if trace == "outbox row":
        await audited.lose("mails", f"{order}:order-confirmed")
        await audited.change("reservations", order, updated_at=datetime.now(UTC))
        assert await audited.found() == set(), "nothing tells it from another program's"
        await audited.add_row(order, "order.created", age_s=60)
        closed = {"$unset": {"not_before": ""}, "$set": {"state": "closed"}}
        await audited.store["order_outbox"].update_many({}, closed)
    assert await audited.found() == {("orders", str(order))}


async def test_the_reservation_of_another_program_is_counted_and_no_finding(
    audited: Audited,
) -> None:
    books = audited.keeper.orders(1)
    del books["orders"], books["mails"]
    await put(audited.store, books)
    for product, stock in audited.keeper.stock.items():
        await audited.store["products"].update_one({"_id": product}, {"$set": {"stock": stock}})
    report = await audited.report()
    assert report.clean
    assert report.foreign == 1


async def test_a_mail_that_is_owed_and_lost_is_a_finding(audited: Audited) -> None:
    lost = [
        f"{audited.orders[HELD]}:order-confirmed", f"{audited.orders[SOLD]}:order-completed",
        f"{audited.orders[REJECTED]}:order-cancelled", f"{audited.keeper.buyer}:welcome",
    ]  # fmt: skip
    for mail in lost:
        await audited.lose("mails", mail)
    assert await audited.found() == {("mails", mail) for mail in lost}


async def test_a_mail_on_its_way_to_the_queue_and_one_to_nobody_are_no_findings(
    audited: Audited,
) -> None:
    order, template = audited.orders[HELD], "order-confirmed"
    await audited.lose("mails", f"{order}:{template}")
    await audited.add_row(order, template, age_s=60, kind="mail")
    assert await audited.found() == set()
    await audited.lose("order_outbox", f"{order}:{template}")
    await audited.lose("users", audited.keeper.buyer)
    assert await audited.found() == set()


async def test_a_mail_that_nobody_owed_is_a_finding(audited: Audited) -> None:
    name = f"{audited.orders[HELD]}:order-completed"
    mail = await audited.store["mails"].find_one({"_id": f"{audited.orders[SOLD]}:order-completed"})
    assert mail is not None
    message = f"{name.replace(':', '.')}@mercato.example"
    await audited.store["mails"].insert_one(mail | {"_id": name, "message_id": message})
    assert await audited.found() == {("mails", name)}


async def test_a_second_mail_under_one_message_id_is_a_finding(audited: Audited) -> None:
    first = f"{audited.orders[HELD]}:order-confirmed"
    second = f"{audited.orders[SOLD]}:order-confirmed"
    mail = await audited.store["mails"].find_one({"_id": first})
    assert mail is not None
    await audited.change("mails", second, message_id=mail["message_id"])
    assert await audited.found() == {("mails", second)}


@pytest.mark.parametrize("state", ["FAILED", "PARKED"])
async def test_a_mail_that_needs_a_person_is_a_finding_and_no_broken_promise(
    audited: Audited, state: str
) -> None:
    name = f"{audited.orders[HELD]}:order-confirmed"
    await audited.change("mails", name, state=state, reason="550 no such user")
    report = await audited.report()
    (finding,) = report.findings
    assert (finding.check, finding.severity) == ("stuck_mails", Severity.PERSON)
    assert "550 no such user" in finding.detail
    assert (report.clean, report.holds) == (False, True)
    await audited.change("mails", name, created_at=datetime.now(UTC))
    assert await audited.found() == set(), "it may be looked for at this moment"


@pytest.mark.parametrize("state", ["NEW", "DOT"])
async def test_a_mail_that_is_unsent_for_an_hour_is_a_finding_too(
    audited: Audited, state: str
) -> None:
    name, soon = f"{audited.orders[HELD]}:order-confirmed", timedelta(minutes=10)
    at = datetime.now(UTC) - timedelta(hours=1)
    await audited.change("mails", name, state=state, created_at=at + soon)
    assert await audited.found() == set()
    await audited.change("mails", name, created_at=at - soon)
    (finding,) = (await audited.report()).findings
    assert (finding.check, finding.subject) == ("stuck_mails", name)
    assert (finding.severity, finding.mends) == (Severity.PERSON, ())


async def test_what_makes_no_sense_is_a_finding_and_hides_no_other(audited: Audited) -> None:
    first, second = audited.orders[HELD], audited.orders[SOLD]
    await audited.add_row(first, "order.created", age_s=60, headers={"ce-time": "yesterday"})
    await audited.store["orders"].update_one({"_id": second}, {"$unset": {"history": ""}})
    await audited.lose("mails", f"{audited.keeper.buyer}:welcome")
    assert await audited.found() == {
        ("orders", str(first)), ("mails", f"{second}:order-confirmed"),
        ("mails", f"{audited.keeper.buyer}:welcome"),
    }  # fmt: skip


async def test_a_row_that_was_opened_again_a_moment_ago_is_not_late(audited: Audited) -> None:
    order, now = audited.orders[HELD], datetime.now(UTC).isoformat()
    await audited.add_row(order, "order.created", age_s=3600, headers={"ce-time": now})
    assert await audited.found() == set()


async def test_a_dead_letter_is_a_finding_until_it_is_replayed(audited: Audited) -> None:
    letter = {
        "_id": "a" * 64, "consumer": "inventory", "subject": "order.created", "state": "dead",
        "reason": "no JSON", "at": datetime.now(UTC),
    }  # fmt: skip
    await audited.store["dead_letters"].insert_one(letter)
    assert await audited.found() == {("dead_letters", "a" * 64)}
    await audited.store["dead_letters"].update_one({}, {"$unset": {"state": ""}})
    assert await audited.found() == {("dead_letters", "a" * 64)}
    await audited.change("dead_letters", "a" * 64, state="replayed")
    assert await audited.found() == set()


async def test_an_audit_that_outlives_mongods_memory_says_what_to_set(audited: Audited) -> None:
    with pytest.raises(SettingsError, match="minSnapshotHistoryWindowInSeconds=1800"):
        await verify(audited.store, seconds_max=0.001)


async def test_mails_of_other_programs_are_nobodys_business(audited: Audited) -> None:
    mail = await audited.store["mails"].find_one({"_id": f"{audited.keeper.buyer}:welcome"})
    assert mail is not None
    for name, message in (
        (f"{audited.orders[HELD]}:survey", f"{audited.orders[HELD]}.survey"),
        ("news", "news"), ("\u00e9t\u00e9.2026", "_e9_t_e9__2e_2026"),
    ):  # fmt: skip
        other = mail | {"_id": name, "message_id": f"{message}@mercato.example"}
        await audited.store["mails"].insert_one(other)
    report = await audited.report()
    assert report.findings == []
    assert report.checks["stuck_mails"].looked_at == 16

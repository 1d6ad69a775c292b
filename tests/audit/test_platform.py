"""The audit of a running platform: no false alarm, an alarm for damage, and its repair."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from subprocess import CompletedProcess
from typing import Any

import httpx2
import pytest
from bson import ObjectId

from mercato.audit.auditing import verify
from mercato.audit.model import Report
from mercato.audit.repair import Repair, planned
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.platform import mongo
from mercato.platform.mongo import Store
from tests.cli.test_shop import mercato
from tests.command import ended
from tests.story.shop import Customer, Shop, eventually

STOCK = 1000
GAUGE = re.compile(r'^mercato_audit_findings\{check="(\w+)"\} (\S+)$', re.MULTILINE)


@pytest.fixture(scope="module")
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    async with Shop.of(platform) as opened:
        yield opened


@pytest.fixture(scope="module")
async def store(platform: Platform) -> AsyncIterator[Store]:
    async with Store.open(platform.environment["MONGO_URI"], "ecommerce") as store:
        yield store


class Case:
    """A customer, a product and the orders of one test; what others have left is not looked at."""

    def __init__(self, shop: Shop, store: Store, buyer: Customer, product: str) -> None:
        self.shop, self.store, self.buyer, self.product = shop, store, buyer, product
        self.orders: list[str] = []

    async def place(self, count: int) -> list[str]:
        placing = (self.shop.place_for_sure(self.buyer, {self.product: 2}) for _ in range(count))
        orders = [order["id"] for order in await asyncio.gather(*placing)]
        self.orders += orders
        return orders

    async def make(self, order: str, status: str) -> None:
        url, body = f"/api/orders/{order}/status", {"status": status}
        answer = await self.shop.http.put(url, json=body, headers=self.shop.admin)
        assert answer.status_code == 200, answer.text

    async def settle(self) -> None:
        """Waits until nothing about the orders is under way any more."""

        async def quiet() -> bool:
            rows = {"about": {"$in": [*self.orders, self.buyer.id]}, "not_before": {"$exists": 1}}
            outboxes = ("order_outbox", "inventory_outbox", "user_outbox")
            return not sum([await self.store[each].count_documents(rows) for each in outboxes])

        await eventually(quiet, 30, "rows about the orders stay open")

    def mine(self, report: Report) -> set[tuple[str, str]]:
        ours = (*self.orders, self.product, self.buyer.id)
        found = {(finding.check, finding.subject) for finding in report.findings}
        return {(check, subject) for check, subject in found if subject.startswith(ours)}

    async def found(self, *, settled: bool = False) -> set[tuple[str, str]]:
        return self.mine(await verify(self.store, settled=settled))


@pytest.fixture
async def case(shop: Shop, store: Store) -> Case:
    return Case(shop, store, await shop.register("audited"), await shop.add_product(STOCK))


async def test_orders_under_way_raise_no_alarm_and_settled_ones_neither(case: Case) -> None:
    seen: list[set[tuple[str, str]]] = []
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            seen.append(await case.found())

    watching = asyncio.ensure_future(watch())
    for _ in range(3):
        orders = await case.place(16)
        await case.shop.settled(orders, 20)
        await asyncio.gather(*(case.make(order, "CANCELLED") for order in orders[::2]))
        await asyncio.gather(*(case.make(order, "COMPLETED") for order in orders[1::4]))
    await case.settle()
    over.set()
    await watching
    assert len(seen) > 5
    assert set().union(*seen) == set()
    assert await case.found(settled=True) == set()


async def test_damage_raises_the_alarm_of_the_audit_inside_the_platform(
    platform: Platform, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G30: one unit corrupted, one reservation deleted, one mail row deleted."""
    first, second = await case.place(2)
    await case.shop.settled([first, second], 20)
    await case.settle()
    monkeypatch.setenv("AUDIT_EVERY_S", "0.2")
    await platform.stop("audit")
    await platform.start("audit")
    before = await gauges(platform)
    await case.store["products"].update_one({"_id": ObjectId(case.product)}, {"$inc": {"stock": 1}})
    await case.store["reservations"].delete_one({"_id": ObjectId(first)})
    await case.store["mails"].delete_one({"_id": f"{second}:order-confirmed"})
    await age(case.store, [first, second])

    async def alarmed() -> bool:
        now = await gauges(platform)
        return all(now[check] > before[check] for check in ("stock", "reservations", "mails"))

    await eventually(alarmed, 20, "no alarm was raised")
    log = (platform.data_dir / "logs" / "audit.log").read_text()
    assert '"event":"audit finding"' in log
    await repair(case)
    await eventually(lambda: calm(platform, before), 20, "the alarm goes on after the repair")
    monkeypatch.delenv("AUDIT_EVERY_S")
    await platform.stop("audit")
    await platform.start("audit")


async def test_every_kind_of_damage_is_mended_while_the_platform_runs(case: Case) -> None:
    store = case.store
    orders = await case.place(7)
    await case.shop.settled(orders, 20)
    orders[0] = await copied(case, orders[0])  # inventory has no trace of it
    await case.make(orders[5], "COMPLETED")
    await case.settle()
    ids = [ObjectId(order) for order in orders]
    ledger, reservations = store["stock_ledger"], store["reservations"]
    await reservations.delete_one({"_id": ids[1]})  # the ledger still tells of it
    await ledger.delete_many({"_id": {"$regex": f"^{orders[2]}:"}})
    await change(store, ids[3], status="CANCELLED", stock="RELEASED", reason="cancelled_by_shop")
    await change(store, ids[4], stock="AWAITING", history=[])  # its answer never came,
    await store["order_outbox"].delete_many({"about": orders[4]})  # and nobody asks any more
    await store["mails"].delete_many({"_id": {"$regex": f"^{orders[4]}:"}})
    await reservations.update_one({"_id": ids[5]}, {"$set": {"state": "HELD"}})
    lost = [f"{orders[6]}:order-confirmed", f"{case.buyer.id}:welcome"]
    await store["mails"].delete_many({"_id": {"$in": lost}})
    lost.append(f"{orders[0]}:order-confirmed")
    await age(store, orders)
    assert {
        *(("reservations", order) for order in (*orders[:2], *orders[3:6])),
        ("ledger", orders[2]), ("stock", case.product), *(("mails", mail) for mail in lost),
        ("mails", f"{orders[3]}:order-cancelled"),
    } <= await case.found()  # fmt: skip
    await repair(case)
    await case.settle()
    assert await case.found(settled=True) == set()
    states = {r["_id"]: r["state"] async for r in reservations.find({"_id": {"$in": ids}})}
    ends = ["HELD", "HELD", "HELD", "RELEASED", "HELD", "SOLD", "HELD"]
    assert [states[order] for order in ids] == ends
    await case.shop.balanced(case.product)


async def test_the_command_answers_with_its_exit_code_and_asks_before_it_repairs(
    platform: Platform, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "REACH_MS", 1_000)
    (order,) = await case.place(1)
    await case.shop.settled([order], 20)
    await case.settle()
    mail = f"{order}:order-confirmed"
    await case.store["mails"].delete_one({"_id": mail})
    words = ("verify", "--json", "--examples", "1000")
    told, asked, away = await asyncio.gather(
        asyncio.to_thread(mercato, platform, *words, "--repair", "--dry-run"),
        asyncio.to_thread(mercato, platform, "verify", "--repair"),
        asyncio.to_thread(without_a_platform),
    )
    assert told.returncode == 1
    assert f"put the mail order-confirmed of {order} on its way again" in told.stderr
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert (away.returncode, away.stdout) == (2, "")
    assert away.stderr.startswith("error: the database fails")
    assert ("mails", mail) in await case.found(), "nobody has agreed"
    report: dict[str, Any] = json.loads(told.stdout)
    assert not report["clean"]
    finding = next(each for each in report["findings"] if each["subject"] == mail)
    assert (finding["check"], finding["severity"]) == ("mails", "broken")
    done = await asyncio.to_thread(mercato, platform, "verify", "--repair", "--yes")
    assert "done: " in done.stderr
    assert f"put the mail order-confirmed of {order} on its way again" in done.stdout
    assert await case.found(settled=True) == set()


def without_a_platform() -> CompletedProcess[str]:
    environment = {"JWT_SECRET": "s" * 40, "MONGO_URI": "mongodb://127.0.0.1:9/"}
    with ended():
        return mercato(None, "verify", "--data-dir", "/nonexistent", environment=environment)


async def copied(case: Case, order: str) -> str:
    """Makes an order like `order` that the order service alone knows of; returns its id."""
    document = await case.store["orders"].find_one({"_id": ObjectId(order)})
    assert document is not None
    copy = new_id()
    del document["idempotency_key"]
    await case.store["orders"].insert_one(document | {"_id": ObjectId(copy)})
    case.orders.append(copy)
    return copy


async def repair(case: Case) -> None:
    """Repairs what is ours until there is nothing left to do, as the command does."""
    for _ in range(4):
        report = await verify(case.store)
        ours = (*case.orders, case.product, case.buyer.id)
        mends = [mend for mend in planned(report) if mend.subject.startswith(ours)]
        if not mends:
            break
        mending = Repair(case.store)
        await mending.apply(mends)
        assert await mending.answered(), mending.told
    assert case.mine(report) == set()


async def change(store: Store, order: ObjectId, **fields: object) -> None:
    await store["orders"].update_one({"_id": order}, {"$set": fields})


async def age(store: Store, orders: list[str]) -> None:
    """Makes orders as old as the audit wants them to be."""
    ids = [ObjectId(order) for order in orders]
    older = {"$dateSubtract": {"startDate": "$created_at", "unit": "minute", "amount": 2}}
    await store["orders"].update_many({"_id": {"$in": ids}}, [{"$set": {"created_at": older}}])


async def gauges(platform: Platform) -> dict[str, float]:
    """The findings of the platform's own audit by check, once it has looked."""
    port = platform.parts()["audit"].ports["http"]
    async with httpx2.AsyncClient() as http, asyncio.timeout(20):
        while True:
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
            found = {check: float(count) for check, count in GAUGE.findall(answer.text)}
            if found:
                return found
            await asyncio.sleep(0.1)


async def calm(platform: Platform, before: dict[str, float]) -> bool:
    return await gauges(platform) == before

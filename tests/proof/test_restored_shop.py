"""A shop that is restored from an older backup goes on from there as if the rest had never been."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from bson import ObjectId

from mercato.audit.auditing import verify
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from tests.backup.folders import mercato
from tests.proof.figures import Figures
from tests.story.shop import Customer, Shop, eventually

SETTLED, WAITING, LATER = 40, 30, 20
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Day:
    """Orders before the backup, under way at its moment, and placed after it."""

    buyer: Customer
    product: str
    settled: list[str]
    waiting: list[str]
    later: list[str]


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[Shop]:
    async with Platform.open(home) as platform, Shop.of(platform) as shop:
        yield shop


async def place(shop: Shop, buyer: Customer, product: str, count: int) -> list[str]:
    orders = await asyncio.gather(*(shop.place_for_sure(buyer, {product: 1}) for _ in range(count)))
    return [order["id"] for order in orders]


async def states(shop: Shop, orders: list[str]) -> Counter[str]:
    ids = {"_id": {"$in": [ObjectId(order_id) for order_id in orders]}}
    found = await shop.database.orders.find(ids, {"stock": 1}).to_list()
    held = await shop.database.reservations.count_documents(ids)
    return Counter(each["stock"] for each in found) + Counter(reservations=held)


async def all_told(shop: Shop, orders: list[str]) -> bool:
    rows = {"about": {"$in": orders}, "subject": "order.created", "state": "sent"}
    return await shop.database.order_outbox.count_documents(rows) == len(orders)


async def a_day(home: Path, folder: Path) -> Day:
    """Trades, is backed up in the middle of it, and ends with everything told and not taken."""
    async with opened(home) as shop:
        buyer, product = await shop.register("restored"), await shop.add_product(1_000)
        settled = await place(shop, buyer, product, SETTLED)
        await shop.settled(settled, within_s=30)
        await shop.platform.stop("nats")
        waiting = await place(shop, buyer, product, WAITING)
        code, _, err = await mercato("backup", folder, "--data-dir", home)
        assert code == 0, err
        later = await place(shop, buyer, product, LATER)
        url, changed = f"/api/inventory/{product}", {"price": "1.00"}
        assert (await shop.http.patch(url, json=changed, headers=shop.admin)).status_code == 200
        await shop.platform.stop("inventory")
        await shop.platform.start("nats")  # where everything waits now, told and not taken
        await eventually(lambda: all_told(shop, waiting + later), 30, "orders are not told")
    return Day(buyer, product, settled, waiting, later)


async def test_orders_under_way_settle_and_what_came_later_never_was(
    tmp_path: Path, figures: Figures
) -> None:
    home, folder = tmp_path / "shop", tmp_path / "backup"
    day = await a_day(home, folder)
    words = ("restore", folder, "--data-dir", home, "--replace", "--yes", "--json")
    code, out, err = await mercato(*words)
    assert code == 0, err + out
    told = json.loads(out)
    async with opened(home) as shop:
        await shop.settled(day.settled + day.waiting, within_s=60)
        shown = (await shop.http.get(f"/api/inventory/{day.product}")).json()
        await asyncio.sleep(3)
        gone = await states(shop, day.later)
        there = await states(shop, day.settled + day.waiting)
        await shop.balanced(day.product)
        async with Store.open(shop.platform.environment["MONGO_URI"], "ecommerce") as store:
            report = await verify(store)
        fresh = await place(shop, day.buyer, day.product, 5)
        await shop.settled(fresh, within_s=30)
    figures.tell(
        "back", settled=SETTLED, under_way=WAITING, later=LATER, under_way_and_settled=WAITING,
        later_that_took_stock=gone["reservations"], messages_deleted=told["deleted_messages"],
        findings=len(report.findings),
    )  # fmt: skip
    assert there == Counter(RESERVED=SETTLED + WAITING, reservations=SETTLED + WAITING)
    assert gone == Counter()
    assert (shown["stock"], shown["price"]) == (1_000 - SETTLED - WAITING, 9.99)
    assert report.holds, report.findings

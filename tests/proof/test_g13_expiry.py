"""G13: what is held for too long is given back exactly once, whoever completes it meanwhile."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Set
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mercato.embedded.supervisor import Platform
from mercato.events import Item, OrderCancelled, OrderCompleted, OrderCreated
from mercato.inventory.model import Product
from mercato.inventory.repository import SHAPES as INVENTORY_SHAPES
from mercato.inventory.repository import MongoProducts, MongoStock
from mercato.kernel.clock import now
from mercato.kernel.money import Money
from mercato.order.expiry import expiring
from mercato.order.model import Order, OrderNotCompletable, Priced
from mercato.order.repository import SHAPES as ORDER_SHAPES
from mercato.order.repository import MongoOrders
from mercato.order.usecase import Ordering
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.tasks import end
from tests.inventory.goods import balanced, on_hand, product
from tests.order.orders import draft
from tests.proof.figures import Figures, percentile, sized
from tests.story.shop import Shop, eventually

HOLD_S = 3
AT_ONCE = 50
LOOK_S = 0.01
RACE_S = 0.005
RELEASED_S_MAX = 5.0  # after the hold has run out
pytestmark = pytest.mark.timeout(300)


class Shelf:
    async def products(self, ids: Set[str]) -> Mapping[str, Priced]:
        return {}


class Race:
    """Two copies of the order service, their clocks ten minutes apart, and inventory's desk."""

    def __init__(self, store: Store, cache: Cache, lamp: Product) -> None:
        self.orders = MongoOrders(store, cache)
        self.stock = MongoStock(store, cache, Outbox(store["inventory_outbox"]))
        self.copies = [Ordering(self.orders, Shelf(), self._clock(minutes)) for minutes in (-5, 5)]
        self.store = store
        self.lamp = lamp
        self.completed = 0

    async def held(self) -> list[Order]:
        """Places and reserves AT_ONCE orders, as S2, S4 and S5 do."""
        wish = draft(items=[(self.lamp.id, 1)])
        price = {self.lamp.id: Priced("Lamp", Money(1999, "EUR"))}
        placed = [Order.place(wish, price, now()) for _ in range(AT_ONCE)]
        await asyncio.gather(*map(self.orders.add, placed))
        one = (Item(product_id=self.lamp.id, quantity=1),)
        await self.stock.settle([OrderCreated(order_id=each.id, items=one) for each in placed])
        at = now()
        changes = (self.orders.update(each.id, lambda o: o.stock_reserved(at)) for each in placed)
        return list(await asyncio.gather(*changes))

    async def complete(self, order: Order, due: float) -> None:
        """Completes within RACE_S of the moment when the hold runs out."""
        await asyncio.sleep(due - time.monotonic() + random.uniform(-RACE_S, RACE_S))
        try:
            await self.orders.update(order.id, lambda o: o.complete(now(), "admin:a"))
        except OrderNotCompletable:
            return
        self.completed += 1

    async def expire(self) -> None:
        while True:
            await asyncio.gather(*(copy.expire(HOLD_S, 500) for copy in self.copies))
            await asyncio.sleep(LOOK_S)

    async def told(self) -> None:
        """Takes what the orders tell to inventory, each fact twice."""
        subjects = {each.subject: each for each in (OrderCancelled, OrderCompleted)}
        rows = self.store["order_outbox"].find({"subject": {"$in": list(subjects)}})
        facts = [subjects[row["subject"]](**row["payload"]) async for row in rows]
        random.shuffle(facts)
        for _ in range(2):
            for start in range(0, len(facts), 200):
                await self.stock.settle(facts[start : start + 200])

    @staticmethod
    def _clock(minutes: int) -> Any:
        skew = timedelta(minutes=minutes)

        def clock() -> datetime:
            return now() + skew

        return clock


@pytest.fixture
async def race(servers: Platform, cache: Cache) -> AsyncIterator[Race]:
    async with Store.open(servers.environment["MONGO_URI"], "expiry") as store:
        await store.client.drop_database("expiry")
        expired = {"orders": expiring(ORDER_SHAPES["orders"])}
        await store.ensure(INVENTORY_SHAPES | ORDER_SHAPES | expired)
        lamp = product(sized(5_000, least=200) + 1000)
        await MongoProducts(store, cache, Outbox(store["inventory_outbox"])).add(lamp)
        yield Race(store, cache, lamp)


async def test_a_hold_ends_once_whoever_races_for_it(race: Race, figures: Figures) -> None:
    groups = -(-sized(5_000, least=200) // AT_ONCE)
    loop = asyncio.get_running_loop()
    expiring, racing = loop.create_task(race.expire()), []
    for _ in range(groups):
        orders = await race.held()
        due = time.monotonic() + HOLD_S
        racing += [loop.create_task(race.complete(order, due)) for order in orders]
    await asyncio.gather(*racing)
    await asyncio.sleep(1)
    await end([expiring])
    await race.told()
    store, holds = race.store, groups * AT_ONCE
    states = Counter([r["state"] async for r in store["reservations"].find()])
    status = Counter([o["status"] async for o in store["orders"].find()])
    figures.tell("G13", holds=holds, completed=status["COMPLETED"], expired=status["CANCELLED"])
    assert status == {"COMPLETED": race.completed, "CANCELLED": holds - race.completed}
    assert states == {"SOLD": status["COMPLETED"], "RELEASED": status["CANCELLED"]}
    assert min(status.values()) > 0, "nobody raced"
    assert await balanced(store, race.lamp.id)
    assert await on_hand(store, race.lamp.id) == race.lamp.stock - race.completed


async def test_units_are_back_soon_after_the_hold_has_run_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    monkeypatch.setenv("ORDER_HOLD_S", str(HOLD_S))
    async with Platform.open(tmp_path / "shop") as platform, Shop.of(platform) as shop:
        late = await _release_delays(shop, sized(200, least=20))
    figures.tell("G13", released_after_hold_s_max=max(late), released_p50_s=percentile(late, 0.5))
    assert max(late) <= RELEASED_S_MAX


async def _release_delays(shop: Shop, orders: int) -> list[float]:
    """Places orders and leaves them; returns how long after its hold each one's units were back."""
    buyer, lamp = await shop.register(), await shop.add_product(orders)
    placed = await asyncio.gather(*(shop.place(buyer, {lamp: 1}) for _ in range(orders)))
    ids = [answer.json()["id"] for answer in placed]
    states = await shop.settled(ids, within_s=30)
    assert states.total() == orders

    async def all_back() -> bool:
        return await shop.stock(lamp) == orders

    await eventually(all_back, HOLD_S + 30, "units are still held")
    await shop.balanced(lamp)
    since = {str(o["_id"]): o["reserved_at"] async for o in shop.database.orders.find()}
    back = shop.database.stock_ledger.find({"cause": "released"})
    return [
        (row["at"] - since[row["_id"].partition(":")[0]]).total_seconds() - HOLD_S
        async for row in back
    ]

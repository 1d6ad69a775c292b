"""An order's facts in every order there is, some twice, some lost for a while: the same end."""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, cast

import msgspec
from pymongo.errors import PyMongoError

from mercato.events import (
    Item,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFact,
    StockReserved,
)
from mercato.inventory.handler import OrderListener
from mercato.inventory.model import Edit, Product
from mercato.inventory.repository import MongoProducts, MongoStock
from mercato.inventory.usecase import Warehouse
from mercato.kernel import clock
from mercato.kernel.clock import now
from mercato.kernel.errors import AppError
from mercato.kernel.money import Money
from mercato.order.handler import StockListener
from mercato.order.model import Draft, Order, Priced
from mercato.order.repository import MongoOrders
from mercato.order.usecase import Ordering
from mercato.platform.bus import Delivery
from mercato.platform.cache import Cache
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.outbox import Outbox
from tests.proof.figures import chosen
from tests.simulation import verdict
from tests.simulation.chance import Odds, Trouble
from tests.simulation.loop import Process, VirtualClock, VirtualLoop
from tests.simulation.services import World

STOCK: Final = 5
CANCELLED, COMPLETED = 2, 1  # units of the order that is cancelled, and of the one that is sold
SEEDS: Final = int(chosen("PERMUTATION_SEEDS", 2))  # of each order
NAMES: Final = ("created", "cancelled", "created again", "completed", "answered again")
ODDS: Final = Odds(store_refuses=0.05, store_loses_answers=0.05, store_dawdles=0.05)

Listener = Callable[[Sequence[Delivery]], Any]


class Listeners:
    """Inventory's and order's on one store, and two orders: one to cancel, one to sell."""

    def __init__(self, world: World) -> None:
        process = Process("both")
        store, _ = world.opened(process)
        cache = cast(Cache, world.cache)
        outbox = Outbox(store["inventory_outbox"])
        self.products = MongoProducts(store, cache, outbox)
        self.orders = MongoOrders(store, cache)
        dead = DeadLetters(store["dead_letters"], "both")
        self.inventory = OrderListener(Warehouse(MongoStock(store, cache, outbox)), dead)
        self.order = StockListener(Ordering(self.orders, cast(Any, None), now), dead)

    async def prepare(self) -> dict[str, list[tuple[Listener, OrderFact]]]:
        """Returns each name's facts, and who hears them."""
        edit = Edit(name="Lamp", price=Money(100, "EUR"), stock=STOCK)
        product = Product.create(edit, "test", now())
        await self.products.add(product)
        off, sold = [
            Order.place(
                Draft("c" * 24, [(product.id, quantity)], f"key {quantity}", "same"),
                {product.id: Priced("Lamp", Money(100, "EUR"))}, now(),
            )
            for quantity in (CANCELLED, COMPLETED)
        ]  # fmt: skip
        await self.orders.add(off)
        await self.orders.add(sold)
        await self.orders.update(off.id, lambda order: order.cancel(now(), "test", "why"))
        created = OrderCreated(
            order_id=off.id, items=(Item(product_id=product.id, quantity=CANCELLED),)
        )
        other = OrderCreated(
            order_id=sold.id, items=(Item(product_id=product.id, quantity=COMPLETED),)
        )
        answer = StockReserved(order_id=sold.id)
        return {
            "created": [(self.inventory, created), (self.inventory, other)],
            "cancelled": [(self.inventory, OrderCancelled(order_id=off.id, reason="why"))],
            "created again": [(self.inventory, created)],
            "completed": [(self.inventory, OrderCompleted(order_id=sold.id))],
            "answered again": [(self.order, StockReserved(order_id=off.id)), (self.order, answer)],
        }


def test_whatever_order_facts_arrive_in_the_stock_is_the_same() -> None:
    for number, names in enumerate(itertools.permutations(NAMES)):
        for seed in range(SEEDS):
            assert _ending(names, number * SEEDS + seed) == (STOCK - COMPLETED, "RELEASED", "SOLD")


def _ending(names: Sequence[str], seed: int) -> tuple[int, str, str]:
    chance = random.Random(seed)
    loop = VirtualLoop(chance, shuffled=True)
    trouble = Trouble(chance, ODDS, lambda *_: None)
    trouble.on = False
    world = World(loop, chance, trouble)
    world.store.committed = lambda _: world.findings.extend(verdict.stock_faults(world))
    with clock.driven_by(VirtualClock(loop)):
        loop.run_until_complete(_heard(world, names))
        loop.close()
    assert world.findings == []
    (product,) = verdict.documents(world, "products")
    states = sorted(str(each["state"]) for each in verdict.documents(world, "reservations"))
    return product["stock"], states[0], states[1]


async def _heard(world: World, names: Sequence[str]) -> None:
    """Delivers in this order, alone or in batches, again what failed; and then all once more."""
    listeners = Listeners(world)
    facts = await listeners.prepare()
    world.trouble.on = True
    deliveries = [each for name in names for each in facts[name]]
    completed = facts["completed"]  # not answered as long as nothing is held: it is told again
    for listener, fact in [*deliveries, *completed, *deliveries]:
        await _until_done(listener, fact)
        if world.trouble.chance.random() < 0.3:
            some = world.trouble.chance.sample(deliveries, 2)
            await asyncio.gather(*(_until_done(hears, again) for hears, again in some))


async def _until_done(listener: Listener, fact: OrderFact) -> None:
    payload = msgspec.json.encode(asdict(fact))
    while True:
        try:
            await listener([Delivery(fact.subject, payload, {}, 1)])
        except (PyMongoError, AppError):
            await asyncio.sleep(0.5)
        else:
            return

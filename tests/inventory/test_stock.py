"""Reservations in MongoDB: decided in one transaction, answered again, balanced in every storm."""

import asyncio
import random
from collections.abc import Sequence
from itertools import permutations

from mercato.events import OrderCancelled, OrderCompleted, OrderFact
from mercato.inventory.model import State, Unfit
from mercato.inventory.repository import MongoProducts, MongoStock
from mercato.inventory.usecase import Catalogue
from mercato.kernel.clock import now
from mercato.kernel.identity import new_id
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from tests.inventory.goods import balanced, created, ledger, on_hand, product


async def shelved(products: MongoProducts, stock: int = 10) -> str:
    made = product(stock)
    await products.add(made)
    return made.id


async def told(store: Store, order_id: str) -> dict[str, int]:
    rows = await store["inventory_outbox"].find({"about": order_id}).to_list()
    return {row["subject"]: row["emission"] for row in rows}


async def test_a_decision_writes_stock_ledger_reservation_and_answer_together(
    products: MongoProducts, stock: MongoStock, store: Store
) -> None:
    lamp, chair = await shelved(products), await shelved(products)
    order = created((lamp, 2), (chair, 3))
    await stock.settle([order])
    assert (await on_hand(store, lamp), await on_hand(store, chair)) == (8, 7)
    found = await stock.reservation(order.order_id)
    assert found is not None
    assert (found.state, found.items) == (State.HELD, {lamp: 2, chair: 3})
    assert await told(store, order.order_id) == {"stock.reserved": 1}
    assert [line["delta"] for line in await ledger(store, lamp)] == [10, -2]


async def test_a_known_order_is_answered_with_the_next_emission_and_not_applied(
    products: MongoProducts, stock: MongoStock, store: Store
) -> None:
    lamp = await shelved(products)
    order = created((lamp, 2))
    for emission in (1, 2, 3):
        await stock.settle([order, order])
        assert await told(store, order.order_id) == {"stock.reserved": emission}
    assert await on_hand(store, lamp) == 8


async def test_every_order_of_arrival_ends_with_the_same_stock_in_the_database_too(
    products: MongoProducts, stock: MongoStock, store: Store
) -> None:
    """Each fact in a transaction of its own, each permutation heard twice (G12)."""
    lamp = await shelved(products, 1000)

    async def play(story: Sequence[str]) -> None:
        order = created((lamp, 3))
        facts = {"created": order, "cancelled": OrderCancelled(order_id=order.order_id, reason="")}
        for name in (*story, *story):
            await stock.settle([facts[name]])

    stories = set(permutations(["created", "created", "cancelled"]))
    await asyncio.gather(*(play(story) for story in sorted(stories)))
    assert await on_hand(store, lamp) == 1000
    assert await balanced(store, lamp)


async def test_copies_that_hear_the_same_decide_once(
    products: MongoProducts, store: Store, cache: Cache, outbox: Outbox
) -> None:
    lamp = await shelved(products, 100)
    copies = [MongoStock(store, cache, outbox) for _ in range(4)]
    orders = [created((lamp, 2)) for _ in range(60)]
    await asyncio.gather(*(copy.settle(orders) for copy in copies))
    states = [(await copies[0].reservation(order.order_id)) for order in orders]
    assert sum(each is not None and each.state is State.HELD for each in states) == 50
    assert await on_hand(store, lamp) == 0
    assert await balanced(store, lamp)


async def test_no_storm_upsets_the_balance(
    products: MongoProducts, stock: MongoStock, store: Store
) -> None:
    dice, catalogue = random.Random(7), Catalogue(products, now)
    shelf = [await shelved(products, 50) for _ in range(4)]
    orders = [created(*((p, dice.randint(1, 4)) for p in dice.sample(shelf, 2))) for _ in range(80)]
    facts: list[OrderFact | Unfit] = [*orders, *dice.sample(orders, 40)]
    facts += [OrderCancelled(order_id=o.order_id, reason="") for o in dice.sample(orders, 40)]
    facts += [OrderCompleted(order_id=o.order_id) for o in dice.sample(orders, 40)]
    facts += [Unfit(new_id())]
    dice.shuffle(facts)

    async def restock() -> None:
        for _ in range(10):
            await catalogue.adjust(dice.choice(shelf), 5, "admin:a", "delivery", "")

    async def hear(batches: list[list[OrderFact | Unfit]]) -> None:
        for batch in batches:
            await stock.settle(batch)

    batches = [facts[i : i + 12] for i in range(0, len(facts), 12)]
    await asyncio.gather(restock(), *(hear(batches[copy::3]) for copy in range(3)))
    assert await balanced(store, *shelf)
    held = dict.fromkeys(shelf, 0)
    for order in orders:
        found = await stock.reservation(order.order_id)
        for product_id, quantity in found.items.items() if found else ():
            if found and found.state in (State.HELD, State.SOLD):
                held[product_id] += quantity
    lines = [line for product_id in shelf for line in await ledger(store, product_id)]
    supplied = sum(line["delta"] for line in lines if line["cause"] in ("initial", "restocked"))
    assert supplied == 4 * 50 + 10 * 5
    assert sum([await on_hand(store, p) for p in shelf]) == supplied - sum(held.values())


async def test_units_that_are_held_and_come_back_in_one_batch_leave_no_gap(
    products: MongoProducts, stock: MongoStock, store: Store
) -> None:
    lamp = await shelved(products, 5)
    first, second = created((lamp, 5)), created((lamp, 5))
    cancelled = OrderCancelled(order_id=first.order_id, reason="")
    await stock.settle([first, cancelled, second])
    assert await on_hand(store, lamp) == 0
    found = await stock.reservation(second.order_id)
    assert found is not None
    assert found.state is State.HELD
    assert await balanced(store, lamp)


async def test_a_sale_is_seen_in_the_catalogue_at_once(
    products: MongoProducts, stock: MongoStock
) -> None:
    lamp = await shelved(products, 5)
    for left in (4, 3):
        await products.find([lamp])  # fills the cache
        await stock.settle([created((lamp, 1))])
        assert (await products.find([lamp]))[lamp].stock == left

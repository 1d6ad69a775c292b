"""Orders that hold their stock for too long are called off, once, by the database's clock."""

import asyncio
from collections.abc import Mapping, Set
from datetime import timedelta

import pytest

from mercato.order.model import Order, OrderNotCompletable, Priced, Status
from mercato.order.repository import MongoOrders
from mercato.order.usecase import Ordering
from mercato.platform.mongo import Store
from tests.order.orders import NOW, PRODUCTS, placed

HOLD_S = 1
COUNT_MAX = 1000


class Shelf:
    async def products(self, ids: Set[str]) -> Mapping[str, Priced]:
        return PRODUCTS


@pytest.fixture
def copies(orders: MongoOrders) -> list[Ordering]:
    """Two copies of the service whose clocks are ten minutes apart, and both wrong."""
    early, late = NOW - timedelta(minutes=5), NOW + timedelta(minutes=5)
    return [Ordering(orders, Shelf(), lambda: early), Ordering(orders, Shelf(), lambda: late)]


async def held(orders: MongoOrders) -> Order:
    order = await orders.add(placed())
    return await orders.update(order.id, lambda o: o.stock_reserved(NOW))


async def told(store: Store, order_id: str) -> set[str]:
    rows = await store["order_outbox"].find({"about": order_id}).to_list()
    return {row["subject"] for row in rows}


async def test_an_order_that_holds_its_stock_for_too_long_is_called_off(
    orders: MongoOrders, copies: list[Ordering], store: Store
) -> None:
    old = await held(orders)
    await asyncio.sleep(HOLD_S + 0.1)
    fresh = await held(orders)
    waiting = await orders.add(placed())
    for copy in copies:
        await copy.expire(HOLD_S, COUNT_MAX)
    found = await orders.find([old.id, fresh.id, waiting.id])
    assert (found[old.id].status, found[old.id].reason) == (Status.CANCELLED, "expired")
    assert found[old.id].history[-1].by == "order"
    assert await told(store, old.id) == {
        "order.created", "order-confirmed", "order.cancelled", "order-cancelled",
    }  # fmt: skip
    assert [found[each.id].status for each in (fresh, waiting)] == [Status.PENDING] * 2


async def test_what_is_completed_does_not_expire(
    orders: MongoOrders, copies: list[Ordering]
) -> None:
    order = await held(orders)
    await orders.update(order.id, lambda o: o.complete(NOW, "admin:a"))
    await asyncio.sleep(HOLD_S + 0.1)
    await copies[0].expire(HOLD_S, COUNT_MAX)
    assert (await orders.find([order.id]))[order.id].status is Status.COMPLETED


async def test_of_completing_and_expiring_at_once_one_wins(
    orders: MongoOrders, copies: list[Ordering], store: Store
) -> None:
    wishes = [await held(orders) for _ in range(30)]
    await asyncio.sleep(HOLD_S + 0.1)

    async def complete(order: Order) -> bool:
        try:
            await orders.update(order.id, lambda o: o.complete(NOW, "admin:a"))
        except OrderNotCompletable:
            return False
        return True

    expiring = asyncio.gather(*(copy.expire(HOLD_S, COUNT_MAX) for copy in copies))
    done = await asyncio.gather(*map(complete, wishes))
    await expiring
    for order, completed in zip(wishes, done, strict=True):
        ending = "order.completed" if completed else "order.cancelled"
        assert (await told(store, order.id)) & {"order.cancelled", "order.completed"} == {ending}


async def test_the_longest_held_come_first(orders: MongoOrders) -> None:
    first, second = await held(orders), await held(orders)
    await asyncio.sleep(0.01)
    found = await orders.held_longer_than(0, COUNT_MAX)
    assert found.index(first.id) < found.index(second.id)


async def test_the_held_are_found_by_their_index(orders: MongoOrders, store: Store) -> None:
    await orders.held_longer_than(0, COUNT_MAX)
    uses = [
        index["accesses"]["ops"]
        async for index in await store["orders"].aggregate([{"$indexStats": {}}])
        if index["name"] == "held"
    ]
    assert uses[0] > 0

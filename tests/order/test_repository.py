"""Orders in MongoDB: one per key, changed together, each caller with an answer of its own."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId, decode
from pymongo.asynchronous.collection import AsyncCollection

from mercato.kernel.errors import NotFound
from mercato.kernel.identity import new_id
from mercato.order.model import Order, OrderNotCompletable, Status, Stock
from mercato.order.repository import MongoOrders, _updates
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from tests.order.orders import NOW, placed


async def rows(store: Store, order_id: str) -> dict[str, dict[str, Any]]:
    found = await store["order_outbox"].find({"about": order_id}).to_list()
    return {row["_id"].partition(":")[2]: row for row in found}


async def test_an_order_comes_back_as_it_was_placed(orders: MongoOrders, store: Store) -> None:
    order = await orders.add(placed())
    document = await store["orders"].find_one({"_id": ObjectId(order.id)})
    assert document is not None
    assert type(document["total"]) is int
    for _ in range(2):  # from the database, and then from the cache
        assert (await orders.find([order.id]))[order.id] == order


async def test_an_order_and_its_fact_are_written_together(
    orders: MongoOrders, store: Store
) -> None:
    order = await orders.add(placed())
    told = await rows(store, order.id)
    assert list(told) == ["order.created"]
    row = told["order.created"]
    assert (row["state"], row["emission"], row["answered"]) == ("open", 1, True)
    items = [{"product_id": order.lines[0].product_id, "quantity": 2}]
    assert row["payload"] == {"order_id": order.id, "items": items}


async def test_a_hundred_with_one_key_place_one_order(
    orders: MongoOrders, store: Store, cache: Cache
) -> None:
    user, beside = new_id(), MongoOrders(store, cache)  # as another copy of the service has it
    wishes = [placed(user_id=user, key="k") for _ in range(100)]
    copies = [orders, beside]
    stored = await asyncio.gather(*(copies[i % 2].add(wish) for i, wish in enumerate(wishes)))
    assert len({order.id for order in stored}) == 1
    assert await store["orders"].count_documents({"user_id": ObjectId(user)}) == 1
    assert all(order.as_placed() == stored[0].as_placed() for order in stored)
    told = await store["order_outbox"].count_documents({"about": {"$in": [w.id for w in wishes]}})
    assert told == 1


async def test_the_same_key_of_two_users_is_two_orders(orders: MongoOrders) -> None:
    first, second = await asyncio.gather(*(orders.add(placed(key="k")) for _ in range(2)))
    assert first.id != second.id


async def test_orders_without_a_key_are_never_one(orders: MongoOrders, store: Store) -> None:
    user = new_id()
    known = await orders.add(placed(user_id=user, key="k"))
    wishes = [placed(user_id=user) for _ in range(20)] + [placed(user_id=user, key="k")]
    stored = await asyncio.gather(*(orders.add(wish) for wish in wishes))
    assert stored[-1].id == known.id
    assert await store["orders"].count_documents({"user_id": ObjectId(user)}) == 21


async def test_a_change_that_is_refused_fails_only_its_own_caller(orders: MongoOrders) -> None:
    good = [await orders.add(placed()) for _ in range(5)]
    bad, strange = await orders.add(placed()), await orders.add(placed())

    def fail(_: Order) -> None:
        raise ZeroDivisionError

    results = await asyncio.gather(
        *(orders.update(order.id, lambda o: o.stock_reserved(NOW)) for order in good),
        orders.update(bad.id, lambda o: o.complete(NOW, "admin:b")),
        orders.update(strange.id, fail),
        orders.update(new_id(), lambda o: o.cancel(NOW, "x", "y")),
        return_exceptions=True,
    )
    assert [result.stock for result in results[:5] if isinstance(result, Order)] == [
        Stock.RESERVED
    ] * 5
    assert [type(result) for result in results[5:]] == [
        OrderNotCompletable,
        ZeroDivisionError,
        NotFound,
    ]


async def test_changes_of_one_order_follow_one_another(
    orders: MongoOrders, store: Store, cache: Cache
) -> None:
    order, beside = await orders.add(placed()), MongoOrders(store, cache)
    await asyncio.gather(
        *(each.update(order.id, lambda o: o.stock_reserved(NOW)) for each in (orders, beside) * 20),
        *(
            each.update(order.id, lambda o: o.cancel(NOW, "x", "y"))
            for each in (orders, beside) * 20
        ),
    )
    found = (await orders.find([order.id]))[order.id]
    assert found.status is Status.CANCELLED
    assert found.version == len(found.history)
    actions = [entry.action for entry in found.history]
    assert len(actions) == len(set(actions)), "something was done twice"


async def test_what_an_answer_closes_is_told_no_more(orders: MongoOrders, store: Store) -> None:
    order = await orders.add(placed())
    await orders.update(order.id, lambda o: o.stock_reserved(NOW))
    told = await rows(store, order.id)
    assert told["order.created"]["state"] == "closed"
    assert "not_before" not in told["order.created"]
    assert told["order-confirmed"]["kind"] == "mail"
    assert told["order-confirmed"]["payload"]["total"] == order.total.minor
    await orders.update(order.id, lambda o: o.cancel(NOW, "x", "y"))
    await orders.update(order.id, lambda o: o.stock_released(NOW))
    told = await rows(store, order.id)
    assert {told[name]["state"] for name in ("order.created", "order.cancelled")} == {"closed"}


async def test_a_read_never_shows_less_than_the_last_change(orders: MongoOrders) -> None:
    order = await orders.add(placed())
    for change in (lambda o: o.stock_reserved(NOW), lambda o: o.complete(NOW, "admin:b")):
        await orders.find([order.id])  # fills the cache
        changed = await orders.update(order.id, change)
        assert (await orders.find([order.id]))[order.id].version == changed.version


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_are_complete_and_without_duplicates(orders: MongoOrders, limit: int) -> None:
    user = new_id()
    wishes = [placed(user_id=user) for _ in range(23)]
    await asyncio.gather(*(orders.add(wish) for wish in wishes))
    seen, before = [], ""
    while page := await orders.page(user, "", before, limit):
        await orders.add(placed(user_id=user))  # newer ones do not disturb older pages
        seen += [order.id for order in page]
        before = seen[-1]
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {wish.id for wish in wishes}


async def test_changes_that_are_alike_share_a_statement(orders: MongoOrders, store: Store) -> None:
    placed_ones = [await orders.add(placed()) for _ in range(3)]
    later = NOW + timedelta(seconds=1)
    moments = {order.id: at for order, at in zip(placed_ones, (NOW, NOW, later), strict=True)}
    before = {order.id: order.version for order in placed_ones}
    for order in placed_ones:
        order.stock_reserved(moments[order.id])
    statements = _updates(placed_ones, before)
    assert [len(each._filter["_id"]["$in"]) for each in statements] == [2, 1]
    await store["orders"].bulk_write(statements)
    for order_id, at in moments.items():
        found = (await orders.find([order_id]))[order_id]
        assert (found.stock, found.version, found.updated_at) == (Stock.RESERVED, 2, at)
        assert [entry.at for entry in found.history[1:]] == [at]


@pytest.mark.parametrize("status", ["", "PENDING"])
async def test_an_owners_page_is_read_from_an_index_in_its_order(
    orders: MongoOrders, store: Store, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    find = AsyncCollection.find

    def noted(collection: Any, query: Any) -> Any:
        asked.append(query)
        return find(collection, query)

    monkeypatch.setattr(AsyncCollection, "find", noted)
    await orders.page(new_id(), status, new_id(), 10)
    explained = await find(store["orders"], asked[0]).sort("_id", -1).limit(10).explain()
    plan = str(decode(explained["queryPlanner"].raw)["winningPlan"])
    assert "owner_status_newest" in plan
    assert "'stage': 'SORT'" not in plan


async def test_a_page_can_be_of_one_status(orders: MongoOrders) -> None:
    user = new_id()
    kept, off = [await orders.add(placed(user_id=user)) for _ in range(2)]
    await orders.update(off.id, lambda o: o.cancel(NOW, "x", "y"))
    assert [order.id for order in await orders.page(user, "CANCELLED", "", 10)] == [off.id]
    assert [order.id for order in await orders.page(user, "PENDING", "", 10)] == [kept.id]

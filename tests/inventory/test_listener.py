"""The orders' facts as they arrive: taken in, or kept as a dead letter with its reason."""

import base64
import json
import time
from typing import Any

import pytest

from mercato.inventory.handler import OrderListener, _groups
from mercato.inventory.model import Reservation, State
from mercato.inventory.repository import MongoProducts, MongoStock
from mercato.inventory.repository.documents import product_document
from mercato.inventory.usecase import Warehouse
from mercato.kernel.identity import new_id
from mercato.platform.bus import Delivery
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.mongo import Store
from tests.inventory.goods import balanced, created, on_hand, product


@pytest.fixture
def listener(stock: MongoStock, store: Store) -> OrderListener:
    return OrderListener(Warehouse(stock), DeadLetters(store["dead_letters"], "inventory"))


def delivery(payload: Any, subject: str = "order.created") -> Delivery:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Delivery(subject, data, {}, 1)


async def letters(store: Store, payload: bytes) -> list[dict[str, Any]]:
    found = store["dead_letters"].find({"payload": base64.b64encode(payload).decode()})
    return await found.to_list()


async def test_the_documented_payload_alone_takes_stock_once_however_often(
    listener: OrderListener, products: MongoProducts, store: Store
) -> None:
    lamp = product(10)
    await products.add(lamp)
    payload = {"order_id": new_id(), "items": [{"product_id": lamp.id, "quantity": 2}]}
    further = payload | {"source": "elsewhere", "items": [payload["items"][0] | {"note": "gift"}]}  # type: ignore[operator]
    for _ in range(3):
        await listener([delivery(payload), delivery(further)])
    assert await on_hand(store, lamp.id) == 8
    assert await balanced(store, lamp.id)


async def test_a_batch_of_very_long_orders_is_decided_in_time(
    listener: OrderListener, stock: MongoStock, store: Store
) -> None:
    shelf = [product(1000) for _ in range(1000)]
    await store["products"].insert_many([product_document(each) for each in shelf])
    items = [{"product_id": each.id, "quantity": 1} for each in shelf]
    orders = [new_id() for _ in range(8)]
    started = time.perf_counter()
    await listener([delivery({"order_id": order_id, "items": items}) for order_id in orders])
    assert time.perf_counter() - started < 10
    assert await on_hand(store, shelf[0].id) == await on_hand(store, shelf[-1].id) == 992
    cancels = [delivery({"order_id": o, "reason": ""}, "order.cancelled") for o in orders]
    await listener(cancels)
    assert await on_hand(store, shelf[0].id) == await on_hand(store, shelf[-1].id) == 1000


def test_a_batch_is_cut_between_its_orders_and_keeps_their_order() -> None:
    facts = [created(*[(new_id(), 1)] * n) for n in (1000, 1000, 1, 1000, 999, 1000, 1000)]
    groups = list(_groups(facts))
    assert [len(group) for group in groups] == [2, 3, 2]
    assert [fact for group in groups for fact in group] == facts
    assert list(_groups([])) == []


ITEM = {"product_id": new_id(), "quantity": 1}
UNFIT: dict[str, Any] = {
    "no items": {"items": []},
    "items missing": {},
    "too many items": {"items": [ITEM] * 1001},
    "no such id": {"items": [ITEM | {"product_id": "LAMP"}]},
    "nothing of it": {"items": [ITEM | {"quantity": 0}]},
    "less than nothing": {"items": [ITEM | {"quantity": -5}]},
    "far too much": {"items": [ITEM | {"quantity": 10**30}]},
    "half of it": {"items": [ITEM | {"quantity": 1.5}]},
    "a number in words": {"items": [ITEM | {"quantity": "1"}]},
    "one item only": {"items": ITEM},
}


@pytest.mark.parametrize("name", UNFIT)
async def test_a_creation_that_cannot_be_meant_is_kept_and_its_order_hears_of_it(
    listener: OrderListener, stock: MongoStock, store: Store, name: str
) -> None:
    order_id = new_id()
    poison = delivery({"order_id": order_id} | UNFIT[name])
    for times in (1, 2):
        await listener([poison])
        [letter] = await letters(store, poison.payload)
        assert (letter["times"], letter["subject"]) == (times, "order.created")
        assert letter["reason"]
    assert await stock.reservation(order_id) == Reservation(
        order_id, State.REJECTED, {}, "invalid_event"
    )
    row = await store["inventory_outbox"].find_one({"_id": f"{order_id}:stock.rejected"})
    assert row is not None
    assert row["payload"] == {"order_id": order_id, "reason": "invalid_event"}


@pytest.mark.parametrize(
    ("subject", "payload"),
    [
        ("order.created", b""), ("order.created", b"\xff"), ("order.created", b"[]"),
        ("order.created", b"null"), ("order.created", b'{"order_id": 7}'),
        ("order.created", b'{"order_id": "x", "items": []}'), ("order.created", b"[" * 5000),
        ("order.created", b'{"order_id": {"$ne": 1}}'), ("order.cancelled", b"{}"),
        ("order.eaten", b'{"order_id": "68016c6489e4500884e83831"}'),
    ],
)  # fmt: skip
async def test_what_says_not_whose_it_is_is_kept_and_spoils_nothing(
    listener: OrderListener, products: MongoProducts, store: Store, subject: str, payload: bytes
) -> None:
    lamp = product(10)
    await products.add(lamp)
    good = delivery({"order_id": new_id(), "items": [{"product_id": lamp.id, "quantity": 1}]})
    await listener([delivery(payload, subject), good])
    assert await on_hand(store, lamp.id) == 9
    assert await letters(store, payload)

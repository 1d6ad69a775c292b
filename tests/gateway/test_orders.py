"""Placing orders: once however often, with the answer held where that is asked for."""

import asyncio
import time
from typing import Any

import pytest

from mercato.kernel.errors import Unavailable
from mercato.kernel.identity import new_id
from tests.gateway.conftest import Shop
from tests.gateway.test_refusals import problem


def cart(shop: Shop, **more: Any) -> dict[str, Any]:
    mug = shop.services.inventory.add(name="Mug", stock=5)
    return {"items": [{"product_id": mug.id, "quantity": 2}], **more}


async def test_the_same_key_is_the_same_order_and_the_same_answer(shop: Shop) -> None:
    body, key = cart(shop), {"idempotency-key": new_id()}
    first = await shop.ada.post("/api/orders", json=body, headers=key)
    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers
    shop.services.orders.orders[first.json()["id"]].stock = "RESERVED"
    again = await asyncio.gather(
        *(shop.ada.post("/api/orders", json=body, headers=key) for _ in range(20))
    )
    assert {each.content for each in again} == {first.content}
    assert {each.headers["idempotent-replayed"] for each in again} == {"true"}
    assert {each.headers["location"] for each in again} == {first.headers["location"]}
    other = await shop.bob.post("/api/orders", json=body, headers=key)
    assert other.json()["id"] != first.json()["id"]
    problem(await shop.ada.post("/api/orders", json=cart(shop), headers=key), 422)


async def test_a_repeat_shows_the_order_as_placed_or_after_a_wait_as_it_is(shop: Shop) -> None:
    orders = shop.services.orders
    body, key = cart(shop), {"idempotency-key": new_id()}
    orders.decide_after_reads = orders.reads + 1
    waited = await shop.ada.post("/api/orders", json=body, headers={**key, "prefer": "wait=5"})
    assert waited.json()["stock"] == "RESERVED"
    plain = [await shop.ada.post("/api/orders", json=body, headers=key) for _ in range(2)]
    assert plain[0].content == plain[1].content
    placed = plain[0].json()
    assert (placed["status"], placed["stock"]) == ("PENDING", "AWAITING")
    orders.orders[placed["id"]].status = "COMPLETED"
    again = await shop.ada.post("/api/orders", json=body, headers={**key, "prefer": "wait=5"})
    assert (again.json()["status"], again.json()["stock"]) == ("COMPLETED", "RESERVED")
    assert again.headers["idempotent-replayed"] == "true"


async def test_without_a_key_two_posts_are_two_orders(shop: Shop) -> None:
    body = cart(shop)
    first, second = [await shop.ada.post("/api/orders", json=body) for _ in range(2)]
    assert first.json()["id"] != second.json()["id"]


async def test_a_lost_answer_is_asked_for_again_and_is_one_order(shop: Shop) -> None:
    before = len(shop.services.orders.orders)
    shop.services.orders.failures.append(Unavailable("the database is busy"))
    answer = await shop.ada.post("/api/orders", json=cart(shop))
    assert answer.status_code == 201, answer.text
    assert len(shop.services.orders.orders) == before + 1


@pytest.mark.parametrize("key", [b"", b"k" * 256, b"tab\there", b"caf\xe9"])
async def test_a_key_is_printable_and_not_too_long(shop: Shop, key: bytes) -> None:
    answer = await shop.ada.post(
        "/api/orders",
        json=cart(shop),
        headers={b"idempotency-key": key},
    )
    assert set(problem(answer, 422)) == {"/header/idempotency-key"}


async def test_an_answer_waits_for_the_stock_decision(shop: Shop) -> None:
    orders = shop.services.orders
    orders.decide_after_reads = orders.reads + 3
    wait = {"prefer": "respond-async, wait=5"}
    answer = await shop.ada.post("/api/orders", json=cart(shop), headers=wait)
    assert answer.json()["stock"] == "RESERVED"
    assert answer.headers["preference-applied"] == "wait=5"


async def test_an_answer_waits_no_longer_than_was_asked(shop: Shop) -> None:
    started = time.monotonic()
    wait = {"prefer": "wait=1"}
    answer = await shop.ada.post("/api/orders", json=cart(shop), headers=wait)
    assert (answer.status_code, answer.json()["stock"]) == (201, "AWAITING")
    assert 0.9 < time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [("wait=0", "wait=0"), ("wait=x", None), ("awaits=3", None), ("", None)],
)
async def test_a_preference_that_says_nothing_is_passed_over(
    shop: Shop, prefer: str, applied: str | None
) -> None:
    answer = await shop.ada.post("/api/orders", json=cart(shop), headers={"prefer": prefer})
    assert answer.headers.get("preference-applied") == applied


async def test_orders_at_once_go_together_and_fail_alone(shop: Shop) -> None:
    bad = {"items": [{"product_id": new_id(), "quantity": 1}]}
    bodies = [bad if n % 5 == 0 else cart(shop) for n in range(40)]
    answers = await asyncio.gather(*(shop.ada.post("/api/orders", json=each) for each in bodies))
    assert [each.status_code for each in answers] == [422 if n % 5 == 0 else 201 for n in range(40)]
    assert len(shop.services.orders.batches) < 30


async def test_an_order_shows_all_of_its_fields(shop: Shop) -> None:
    body = cart(shop)
    told = (await shop.ada.post("/api/orders", json=body)).json()
    assert set(told) == {
        "id", "user_id", "items", "total", "currency", "status", "stock", "created_at",
        "updated_at", "message",
    }  # fmt: skip
    assert told["items"] == [{**body["items"][0], "name": "Mug", "unit_price": 19.99}]
    shop.services.orders.orders[told["id"]].reason = "out_of_stock"
    assert (await shop.ada.get(f"/api/orders/{told['id']}")).json()["reason"] == "out_of_stock"


async def test_an_order_is_for_oneself_unless_one_is_an_admin(shop: Shop) -> None:
    ada, bob = shop.ids["ada"], shop.ids["bob"]
    own = await shop.ada.post("/api/orders", json=cart(shop, user_id=ada.upper()))
    assert own.json()["user_id"] == ada
    problem(await shop.ada.post("/api/orders", json=cart(shop, user_id=bob)), 403)
    assert (await shop.admin.post("/api/orders", json=cart(shop, user_id=bob))).json()[
        "user_id"
    ] == bob


async def test_a_customer_lists_no_orders_but_his_own(shop: Shop) -> None:
    await shop.ada.post("/api/orders", json=cart(shop))
    mine = (await shop.ada.get("/api/orders?limit=100")).json()
    assert {each["user_id"] for each in mine["orders"]} == {shop.ids["ada"]}
    assert mine["next_cursor"] == ""
    problem(await shop.ada.get(f"/api/orders?user_id={shop.ids['bob']}"), 403)
    everybody = (await shop.admin.get("/api/orders?limit=100")).json()["orders"]
    assert len({each["user_id"] for each in everybody}) > 1

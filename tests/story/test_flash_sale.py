"""Many at once: a flash sale, and one order sent a hundred times."""

import asyncio
from contextlib import closing

from mercato.kernel.identity import new_id
from tests.story.client import Client
from tests.story.renewing import present
from tests.story.shop import Customer, Shop, eventually

BUYERS = 1000
UNITS = 50


async def bought(client: Client, buyer: Customer, product: str) -> str:
    """Orders one over a connection of its own, again under its key while told to wait."""
    headers = present(buyer.headers) | {"Idempotency-Key": new_id()}
    items = [{"product_id": product, "quantity": 1}]
    while True:
        status, answer = await client.ask("POST", "/api/orders", headers, {"items": items})
        if status == 201:
            return str(answer["id"])
        assert status == 503, answer
        await asyncio.sleep(0.2)


async def test_a_thousand_buyers_of_fifty_units_get_exactly_fifty(shop: Shop) -> None:
    customers = [await shop.register("flash") for _ in range(10)]
    product = await shop.add_product(UNITS)
    with closing(Client(shop.url)) as client:
        orders = await asyncio.gather(
            *(bought(client, customers[i % 10], product) for i in range(BUYERS))
        )
    states = await shop.settled(orders, within_s=60)
    assert states == {
        ("PENDING", "RESERVED"): UNITS,
        ("CANCELLED", "out_of_stock"): BUYERS - UNITS,
    }
    assert await shop.stock(product) == 0
    await shop.balanced(product)


async def test_a_hundred_posts_with_one_key_are_one_order_with_one_answer(shop: Shop) -> None:
    buyer = await shop.register()
    product = await shop.add_product(10)
    key = new_id()
    answers = await asyncio.gather(*(shop.place(buyer, {product: 1}, key) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1, "the answers differ"

    async def taken() -> bool:
        return await shop.stock(product) == 9

    await eventually(taken, 10, "the one order has not taken its unit")
    later = await shop.place(buyer, {product: 1}, key)
    assert later.content == answers[0].content, "a later answer is another one"
    other = await shop.place(buyer, {product: 2}, key)
    assert other.status_code == 422
    somebody = await shop.register()
    theirs = await shop.place(somebody, {product: 1}, key)
    assert theirs.json()["id"] != answers[0].json()["id"], "a key belongs to its user"


async def test_who_waits_for_an_order_that_comes_too_late_is_told_so(shop: Shop) -> None:
    buyer, product = await shop.register(), await shop.add_product(1)
    answer = await shop.place(buyer, {product: 2}, wait_s=10)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["status"], told["stock"], told["reason"]) == (
        "CANCELLED", "REJECTED", "out_of_stock",
    )  # fmt: skip
    assert told["message"] == "The order was placed, and is cancelled: out_of_stock."

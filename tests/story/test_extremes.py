"""What is at the edge of its range works like everything else, and spoils nothing beside it."""

import asyncio

from mercato.kernel.identity import new_id
from tests.story.shop import Shop


async def test_amounts_beyond_32_bits_are_ordered_read_cancelled_and_mailed(shop: Shop) -> None:
    buyer = await shop.register("rich")
    product = await shop.add_product(10_000, "21474836.48")
    order = (await shop.place(buyer, {product: 1000}, wait_s=5)).json()
    assert order["stock"] == "RESERVED"
    url = f"/api/orders/{order['id']}"
    for path in (url, url, f"{url}/history", f"/api/inventory/{product}", "/api/orders"):
        answer = await shop.http.get(path, headers=buyer.headers)
        assert answer.status_code == 200, answer.text
    assert '"total":21474836480.00' in (await shop.http.get(url, headers=buyer.headers)).text
    await shop.gets_mails(buyer.email, 2)
    cancelled = {"status": "CANCELLED"}
    answer = await shop.http.put(f"{url}/status", json=cancelled, headers=buyer.headers)
    assert answer.status_code == 200, answer.text


async def test_a_hundred_restocks_of_one_product_at_once_all_count(shop: Shop) -> None:
    product = await shop.add_product(0)
    body = {"delta": 1, "reason": "delivery"}
    url = f"/api/inventory/{product}/stock"
    answers = await asyncio.gather(
        *(shop.http.post(url, json=body, headers=shop.admin) for _ in range(100))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert await shop.stock(product) == 100
    await shop.balanced(product)


async def test_a_restocks_key_is_one_restock_and_refuses_another(shop: Shop) -> None:
    product = await shop.add_product(0)
    url, headers = f"/api/inventory/{product}/stock", shop.admin | {"Idempotency-Key": new_id()}
    body = {"delta": 5, "reason": "delivery"}
    answers = [await shop.http.post(url, json=body, headers=headers) for _ in range(3)]
    assert {answer.json()["stock"] for answer in answers} == {5}
    other = await shop.http.post(url, json=body | {"delta": 500}, headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency-key-reused"
    assert await shop.stock(product) == 5


async def test_a_blank_or_broken_name_is_refused(shop: Shop) -> None:
    for name in ("   ", "a\nb", "a\x00b"):
        body = {"name": name, "price": "1.00"}
        answer = await shop.http.post("/api/inventory", json=body, headers=shop.admin)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/name"

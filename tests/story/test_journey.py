"""One customer's way: register, order, mails, completion, cancellation."""

import re

from tests.story.shop import Shop


async def test_an_order_takes_stock_and_the_customer_hears_of_it(shop: Shop) -> None:
    buyer = await shop.register()
    product = await shop.add_product(5, "19.99")
    answer = await shop.place(buyer, {product: 2}, wait_s=5)
    assert answer.status_code == 201, answer.text
    order = answer.json()
    assert answer.headers["Location"] == f"/api/orders/{order['id']}"
    assert (order["status"], order["stock"]) == ("PENDING", "RESERVED")
    assert re.search(rb'"total":39\.98[,}]', answer.content), "money is exact, on the wire too"
    seen = (await shop.http.get(f"/api/inventory/{product}")).json()
    assert seen["stock"] == 3, "who has bought sees the stock fallen"
    subjects = await shop.gets_mails(buyer.email, 2)
    assert any("confirmed" in subject for subject in subjects), subjects


async def test_a_completed_order_is_sold_and_tells_its_history(shop: Shop) -> None:
    buyer = await shop.register()
    product = await shop.add_product(5)
    order = (await shop.place(buyer, {product: 5}, wait_s=5)).json()
    url = f"/api/orders/{order['id']}"
    done = await shop.http.put(f"{url}/status", json={"status": "COMPLETED"}, headers=shop.admin)
    assert done.status_code == 200, done.text
    assert done.json()["status"] == "COMPLETED"
    history = (await shop.http.get(f"{url}/history", headers=buyer.headers)).json()["entries"]
    assert [entry["action"] for entry in history] == ["placed", "stock reserved", "completed"]
    await shop.gets_mails(buyer.email, 3)
    await shop.balanced(product)


async def test_a_cancelled_order_gives_its_stock_back_once(shop: Shop) -> None:
    buyer = await shop.register()
    product = await shop.add_product(5)
    order = (await shop.place(buyer, {product: 5}, wait_s=5)).json()
    url = f"/api/orders/{order['id']}/status"
    for _ in range(3):
        answer = await shop.http.put(url, json={"status": "CANCELLED"}, headers=buyer.headers)
        assert answer.status_code == 200, answer.text
    await shop.gets_mails(buyer.email, 3)
    assert await shop.stock(product) == 5
    await shop.balanced(product)
    refused = await shop.http.put(url, json={"status": "COMPLETED"}, headers=shop.admin)
    assert refused.status_code == 409


async def test_a_total_that_the_customer_did_not_see_is_refused_with_both_figures(
    shop: Shop,
) -> None:
    buyer = await shop.register()
    product = await shop.add_product(5, "19.99")
    body = {"items": [{"product_id": product, "quantity": 2}], "total": 39.99}
    answer = await shop.http.post("/api/orders", json=body, headers=buyer.headers)
    assert answer.status_code == 409
    assert "39.98" in answer.json()["detail"]
    assert "39.99" in answer.json()["detail"]

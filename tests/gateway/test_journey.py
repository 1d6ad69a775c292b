"""A shopper's way through the gateway, from registration to the order."""

from tests.gateway.conftest import Shop


async def test_a_shopper_registers_signs_in_and_orders(shop: Shop) -> None:
    made = await shop.nobody.post(
        "/api/users/register",
        json={"email": "eve@example.com", "password": "correct horse", "username": "eve"},
    )
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"/api/users/{made.json()['id']}"
    signed = await shop.nobody.post(
        "/api/users/authenticate", json={"email": "eve@example.com", "password": "correct horse"}
    )
    assert signed.status_code == 200, signed.text
    eve = {"authorization": f"Bearer {signed.json()['token']}"}
    profile = await shop.nobody.get("/api/users/me", headers=eve)
    assert profile.json()["username"] == "eve"

    product = await shop.admin.post(
        "/api/inventory", json={"name": "Mug", "price": 19.99, "stock": 3}
    )
    assert product.status_code == 201, product.text
    read = await shop.nobody.get(product.headers["location"])
    assert read.json()["price"] == 19.99
    assert read.json() == product.json()

    line = {"product_id": product.json()["id"], "quantity": 2}
    order = await shop.nobody.post("/api/orders", json={"items": [line]}, headers=eve)
    assert order.status_code == 201, order.text
    assert order.json()["total"] == 39.98
    again = await shop.nobody.get(order.headers["location"], headers=eve)
    told = order.json()
    told.pop("message")
    assert again.json() == told

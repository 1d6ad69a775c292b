"""Who may call what: every route by nobody, a customer, another customer and an admin."""

import pytest

from mercato.gateway.openapi import document
from mercato.gateway.operation import operations
from tests.gateway.conftest import Shop
from tests.gateway.test_orders import cart

PRODUCT = {"name": "Mug", "price": 1}
MAIL = {"to_email": "a@b.cd", "subject": "Hello", "html_body": "<p>Hello</p>"}
# Each route with what nobody, the owner (or any customer), another customer and an admin get.
MATRIX = [
    ("POST", "/api/users/register", {}, (422, 422, 422, 422)),
    ("POST", "/api/users/authenticate", {}, (422, 422, 422, 422)),
    ("GET", "/api/users/{ada}", None, (401, 200, 404, 200)),
    ("PATCH", "/api/users/{ada}", {}, (401, 200, 404, 200)),
    ("PUT", "/api/users/{ada}", {}, (401, 200, 404, 200)),
    ("GET", "/api/inventory", None, (200, 200, 200, 200)),
    ("GET", "/api/inventory/{product}", None, (200, 200, 200, 200)),
    ("POST", "/api/inventory", PRODUCT, (401, 403, 403, 201)),
    ("PUT", "/api/inventory/{product}", PRODUCT, (401, 403, 403, 200)),
    ("PATCH", "/api/inventory/{product}", {}, (401, 403, 403, 200)),
    ("POST", "/api/inventory/{product}/stock", {"delta": 1, "reason": "d"}, (401, 403, 403, 200)),
    ("DELETE", "/api/inventory/{product}", None, (401, 403, 403, 200)),
    ("POST", "/api/orders", "cart", (401, 201, 201, 201)),
    ("GET", "/api/orders", None, (401, 200, 200, 200)),
    ("GET", "/api/orders?user_id={ada}", None, (401, 200, 403, 200)),
    ("GET", "/api/orders/{order}", None, (401, 200, 404, 200)),
    ("GET", "/api/orders/{order}/history", None, (401, 200, 404, 200)),
    ("PUT", "/api/orders/{order}/status", {"status": "COMPLETED"}, (401, 403, 403, 200)),
    ("PUT", "/api/orders/{order}/status", {"status": "CANCELLED"}, (401, 200, 404, 200)),
    ("POST", "/api/email", MAIL, (401, 403, 403, 200)),
    ("POST", "/api/sessions/refresh", {"refresh_token": "none"}, (401, 401, 401, 401)),
    ("GET", "/api/sessions", None, (401, 200, 200, 200)),
    ("DELETE", "/api/sessions/{ada}", None, (401, 404, 404, 404)),
    ("DELETE", "/api/sessions", None, (401, 200, 200, 200)),
    ("GET", "/.well-known/jwks.json", None, (200, 200, 200, 200)),
    ("GET", "/livez", None, (200, 200, 200, 200)),
    ("GET", "/readyz", None, (200, 200, 200, 200)),
    ("GET", "/metrics", None, (200, 200, 200, 200)),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), MATRIX)
async def test_a_route_lets_in_who_may(
    shop: Shop, method: str, path: str, body: object, expected: tuple[int, ...]
) -> None:
    got = []
    for client in (shop.nobody, shop.ada, shop.bob, shop.admin):
        here = cart(shop)
        order = (await shop.ada.post("/api/orders", json=here)).json()["id"]
        product = here["items"][0]["product_id"]
        url = path.format(ada=shop.ids["ada"], order=order, product=product)
        sent = here if body == "cart" else body
        answer = await client.request(method, url, json=sent if method != "GET" else None)
        got.append(answer.status_code)
    assert tuple(got) == expected


def test_the_matrix_has_every_route() -> None:
    from mercato.gateway import email, inventory, keys, orders, probes, sessions, users

    kinds = (
        users.Users, inventory.Inventory, orders.Orders, email.Emails, probes.Probes,
        sessions.Sessions, keys.KeySet,
    )  # fmt: skip
    declared = {(one.method, one.path) for kind in kinds for one in operations(kind.__new__(kind))}
    names = {"{ada}": "{id}", "{order}": "{id}", "{product}": "{id}"}
    covered = set()
    for method, path, *_ in MATRIX:
        for name, general in names.items():
            path = path.replace(name, general)
        covered.add((method, path.partition("?")[0]))
    assert covered == declared
    assert document([]) is not None


async def test_the_services_hear_who_is_asking(shop: Shop) -> None:
    await shop.ada.get("/api/users/me")
    (method, asking), *_ = shop.services.users.seen
    assert (method, asking.id, asking.role) == ("GetUserProfile", shop.ids["ada"], "customer")


async def test_folded_calls_are_the_gateways_own(shop: Shop) -> None:
    await shop.ada.post("/api/orders", json=cart(shop))
    assert {(asking.id, asking.role) for _, asking in shop.services.orders.seen} == {
        ("gateway", "service")
    }

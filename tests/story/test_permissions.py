"""Who may do what: every route for nobody, its owner, another customer and an admin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mercato.kernel.identity import new_id
from tests.story.shop import Customer, Shop


@dataclass
class Scene:
    """What the routes are tried on: a product, and the owner's reserved order."""

    owner: Customer
    other: Customer
    product: str
    order: str


@pytest.fixture
async def scene(shop: Shop) -> Scene:
    owner, other = await shop.register("owner"), await shop.register("other")
    product = await shop.add_product(10)
    order = (await shop.place(owner, {product: 1}, wait_s=5)).json()
    return Scene(owner, other, product, order["id"])


Body = Callable[[Scene], dict[str, Any]]


@dataclass(frozen=True)
class Route:
    """A route, and the status that each of nobody, owner, other and admin gets."""

    method: str
    path: str
    answers: tuple[int, int, int, int]
    body: Body | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def email(_: Scene) -> dict[str, Any]:
    return {"email": f"new-{new_id()}@example.com", "password": "a good long pass phrase"}


def letter(_: Scene) -> dict[str, Any]:
    return {"to_email": "somebody@example.com", "subject": "Hello", "html_body": "<p>Hello</p>"}


def wish(scene: Scene) -> dict[str, Any]:
    return {"items": [{"product_id": scene.product, "quantity": 1}]}


def thing(_: Scene) -> dict[str, Any]:
    return {"name": "A thing", "price": "1.00"}


def wrong_login(_: Scene) -> dict[str, Any]:
    return {"email": "nobody@example.com", "password": "not the one"}


def completed(_: Scene) -> dict[str, Any]:
    return {"status": "COMPLETED"}


def cancelled(_: Scene) -> dict[str, Any]:
    return {"status": "CANCELLED"}


OPEN = (200, 200, 200, 200)
KEEPERS = (401, 403, 403, 200)
OWN = (401, 200, 404, 200)

ROUTES = [
    Route("POST", "/api/users/register", (201, 201, 201, 201), email),
    Route("POST", "/api/users/authenticate", (401, 401, 401, 401), wrong_login),
    Route("POST", "/api/users/verify-email", (422, 422, 422, 422), lambda _: {"token": "none"}),
    # whoever has just registered has a mail on its way; the keeper's address is verified
    Route("POST", "/api/users/verify-email/resend", (401, 429, 429, 409)),
    Route(
        "POST", "/api/users/password/forgot", (202, 202, 202, 202),
        lambda _: {"email": "nobody@example.com"},
    ),
    Route(
        "POST", "/api/users/password/reset", (422, 422, 422, 422),
        lambda _: {"token": "none", "password": "a good long pass phrase"},
    ),
    Route("POST", "/api/users/me/totp", (401, 422, 422, 422), lambda _: {"password": "not it"}),
    Route("POST", "/api/users/me/totp/confirm", (401, 409, 409, 409), lambda _: {"code": "123456"}),
    Route(
        "DELETE", "/api/users/me/totp", (401, 422, 422, 422),
        lambda _: {"password": "not it", "code": "123456"},
    ),
    Route("GET", "/api/users/me", (401, 200, 200, 200)),
    Route("GET", "/api/users/{owner}", OWN),
    Route("PATCH", "/api/users/{owner}", OWN, lambda s: {"username": f"u{s.owner.id}"}),
    Route("PUT", "/api/users/{owner}", OWN, lambda s: {"username": f"v{s.owner.id}"}),
    Route("GET", "/api/inventory", OPEN),
    Route("GET", "/api/inventory/{product}", OPEN),
    Route("POST", "/api/inventory", (401, 403, 403, 201), thing),
    Route("PUT", "/api/inventory/{product}", KEEPERS, thing),
    Route("PATCH", "/api/inventory/{product}", KEEPERS, lambda _: {"name": "Another"}),
    Route(
        "POST", "/api/inventory/{product}/stock", KEEPERS,
        lambda _: {"delta": 1, "reason": "delivery"},
    ),
    Route("DELETE", "/api/inventory/{product}", KEEPERS),
    Route("POST", "/api/orders", (401, 201, 201, 201), wish),
    Route("POST", "/api/orders", (401, 201, 403, 201), lambda s: wish(s) | {"user_id": s.owner.id}),
    Route("GET", "/api/orders", (401, 200, 200, 200)),
    Route("GET", "/api/orders?user_id={owner}", (401, 200, 403, 200)),
    Route("GET", "/api/orders/{order}", OWN),
    Route("GET", "/api/orders/{order}/history", OWN),
    # no customer completes an order: that is said before it is looked whose order it is
    Route("PUT", "/api/orders/{order}/status", (401, 403, 403, 200), completed),
    Route("PUT", "/api/orders/{order}/status", OWN, cancelled),
    Route("POST", "/api/email", KEEPERS, letter),
    Route("GET", "/api/security/events", KEEPERS),
    Route("GET", "/livez", OPEN),
    Route("GET", "/readyz", OPEN),
    Route("GET", "/metrics", OPEN),
    Route("GET", "/openapi.json", OPEN),
    Route("GET", "/docs", OPEN),
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_a_route_answers_each_caller_as_documented(
    shop: Shop, scene: Scene, route: Route
) -> None:
    callers: tuple[dict[str, str], ...] = ({}, scene.owner.headers, scene.other.headers, shop.admin)
    path = route.path.format(owner=scene.owner.id, product=scene.product, order=scene.order)
    # the refused first: what the permitted do may change what the route answers
    for who in sorted(range(4), key=lambda i: -route.answers[i]):
        body = route.body(scene) if route.body else None
        answer = await shop.http.request(route.method, path, json=body, headers=callers[who])
        assert answer.status_code == route.answers[who], f"caller {who}: {answer.text}"
        if answer.status_code >= 400:
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            assert answer.json()["request_id"]


async def test_every_documented_route_is_in_the_matrix(shop: Shop) -> None:
    document = (await shop.http.get("/openapi.json")).json()
    documented = {
        (method.upper(), path.replace("{id}", "{}"))
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "patch", "delete")
    }
    tried = {
        (route.method, path.partition("?")[0])
        for route in ROUTES
        for path in (route.path, _blank(route.path))
    }
    assert documented <= tried


def _blank(path: str) -> str:
    for name in ("{owner}", "{product}", "{order}"):
        path = path.replace(name, "{}")
    return path


@pytest.mark.parametrize("field", ["role", "id", "version", "created_at", "password_hash"])
async def test_a_profile_takes_no_field_that_is_not_its_owners(shop: Shop, field: str) -> None:
    buyer = await shop.register()
    answer = await shop.http.patch("/api/users/me", json={field: "admin"}, headers=buyer.headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].endswith(field)
    me = (await shop.http.get("/api/users/me", headers=buyer.headers)).json()
    assert me["role"] == "customer"


@pytest.mark.parametrize("field", ["status", "stock", "unit_price", "price", "currency", "id"])
async def test_an_order_takes_no_field_that_is_the_shops(shop: Shop, field: str) -> None:
    buyer, product = await shop.register(), await shop.add_product(1)
    line = {"product_id": product, "quantity": 1}
    for body in ({"items": [line], field: 1}, {"items": [line | {field: 1}]}):
        answer = await shop.http.post("/api/orders", json=body, headers=buyer.headers)
        assert answer.status_code == 422, answer.text
    assert await shop.stock(product) == 1

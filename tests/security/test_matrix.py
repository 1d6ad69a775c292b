"""G19 over REST: every route by nobody, its owner, another customer, an admin, and wrong tokens."""

import re
from typing import Any

import pytest

from tests.security.parties import Minting, bearer
from tests.security.routes import ROUTES, Route, Scene
from tests.story.shop import PASSWORD, Customer, Shop

METHODS = ("get", "post", "put", "patch", "delete")
# What is the shop's to say, or another's, under every name that a program might take it by.
FORBIDDEN = (
    "role", "roles", "is_admin", "admin", "permissions", "scope", "scopes", "id", "_id",
    "owner_id", "customer_id", "version", "created_at", "updated_at", "deleted_at",
    "email_verified", "verified", "password_hash", "hash", "balance", "discount", "unit_price",
    "unit_price_minor", "price_minor", "total_minor", "amount_paid", "paid", "refunded",
    "reserved", "state", "__proto__", "constructor",
)  # fmt: skip
# And what some routes do take, from those who may say it.
ELSEWHERE = ("user_id", "status", "stock", "price", "total", "currency", "reason", "username")


@pytest.fixture(scope="session")
async def people(shop: Shop) -> tuple[Customer, Customer]:
    return await shop.register("owner"), await shop.register("other")


async def a_scene(shop: Shop, people: tuple[Customer, Customer]) -> Scene:
    product = await shop.add_product(10)
    order = (await shop.place(people[0], {product: 1}, wait_s=5)).json()
    return Scene(*people, product, order["id"])


@pytest.fixture(scope="session")
async def document(shop: Shop) -> dict[str, Any]:
    return dict((await shop.http.get("/openapi.json")).json())


def documented(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): one
        for path, methods in document["paths"].items()
        for method, one in methods.items()
        if method in METHODS
    }


def template(route: Route) -> tuple[str, str]:
    path = route.path.partition("?")[0]
    for name in ("{owner}", "{product}", "{order}"):
        path = path.replace(name, "{id}")
    return route.method, re.sub(r"/(me|current)$", "/{id}", path)


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_a_route_answers_each_caller_as_it_must(
    shop: Shop,
    people: tuple[Customer, Customer],
    tokens: Minting,
    document: dict[str, Any],
    route: Route,
) -> None:
    own = (await shop.register("owner"), await shop.register("other")) if route.alone else people
    scene = await a_scene(shop, own)
    secured = "security" in documented(document).get(template(route), {})
    openid = tokens.access(scene.owner.id, "customer", scopes=["openid"], client_id="elsewhere")
    nobody = route.answers[0]
    callers: list[tuple[str, dict[str, str], int]] = [
        ("nobody", {}, nobody),
        ("owner", scene.owner.headers, route.answers[1]),
        ("other", scene.other.headers, route.answers[2]),
        ("admin", shop.admin, route.answers[3]),
        ("service", bearer(tokens.service("gateway")), 401 if secured else nobody),
        ("scope openid", bearer(openid), route.openid if secured else nobody),
        (
            "client", bearer(tokens.client("c" * 24, ["catalogue:write"])),
            403 if secured else nobody,
        ),
    ]  # fmt: skip
    # the refused first: what the permitted do may change what the route answers
    for who, headers, wanted in sorted(callers, key=lambda caller: -caller[2]):
        body = route.body(scene) if route.body else None
        answer = await shop.http.request(
            route.method, scene.path(route), json=body, headers=headers
        )
        assert answer.status_code == wanted, f"{who}: {answer.text}"
        if answer.status_code >= 400:
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            assert answer.json()["request_id"]
            leaked = (scene.owner.email, PASSWORD)
            assert who in ("owner", "admin") or not any(text in answer.text for text in leaked)
    if route.alone:  # the keeper is nobody now
        shop.admin = await shop.login(*next(iter(shop.platform.logins.items())))


async def test_every_documented_route_is_in_the_matrix(document: dict[str, Any]) -> None:
    assert set(documented(document)) <= {template(route) for route in ROUTES}


WRITES = [route for route in ROUTES if route.body and route.method in ("POST", "PUT", "PATCH")]


@pytest.mark.parametrize("route", WRITES, ids=str)
async def test_a_write_takes_no_field_that_is_not_its_callers(
    shop: Shop, people: tuple[Customer, Customer], document: dict[str, Any], route: Route
) -> None:
    scene = await a_scene(shop, people)
    before = await books(shop, scene)
    assert route.body
    headers = shop.admin if route.answers[1] == 403 else scene.owner.headers
    taken = fields(document, route)
    forbidden = [name for name in (*FORBIDDEN, *ELSEWHERE) if name not in taken]
    assert len(forbidden) >= 30
    body = route.body(scene) | dict.fromkeys(forbidden, "admin")
    answer = await shop.http.request(route.method, scene.path(route), json=body, headers=headers)
    assert answer.status_code == 422, answer.text
    named = {error["pointer"].lstrip("/") for error in answer.json()["errors"]}
    assert set(forbidden) <= named
    assert await books(shop, scene) == before


def fields(document: dict[str, Any], route: Route) -> set[str]:
    """Returns the fields that the document gives the route's body."""
    path = template(route)[1]
    content = document["paths"][path][route.method.lower()]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return set(document["components"]["schemas"][name]["properties"])


async def books(shop: Shop, scene: Scene) -> list[object]:
    """Returns what the shop knows of the scene: account, product, order."""
    paths = (
        f"/api/users/{scene.owner.id}", f"/api/inventory/{scene.product}",
        f"/api/orders/{scene.order}",
    )  # fmt: skip
    return [(await shop.http.get(path, headers=shop.admin)).json() for path in paths]


async def test_what_a_customer_says_of_price_total_owner_and_state_has_no_authority(
    shop: Shop, people: tuple[Customer, Customer]
) -> None:
    scene = await a_scene(shop, people)
    line = {"product_id": scene.product, "quantity": 1}
    for body, status in (
        ({"items": [line], "total": "0.01"}, 409),
        ({"items": [line], "user_id": scene.other.id}, 403),
        ({"items": [line | {"unit_price": "0.01"}]}, 422),
        ({"items": [line | {"price": "0.01", "status": "COMPLETED"}]}, 422),
        ({"items": [line | {"quantity": -1}]}, 422),
    ):
        answer = await shop.http.post("/api/orders", json=body, headers=scene.owner.headers)
        assert answer.status_code == status, answer.text
    assert await shop.stock(scene.product) == 9  # the scene's own order

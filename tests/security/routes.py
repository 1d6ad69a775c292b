"""Every route of the REST interface, and what each kind of caller gets from it.

A new route needs a line here, or `test_matrix.py` fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mercato.kernel.identity import new_id
from tests.story.shop import Customer


@dataclass(frozen=True)
class Scene:
    """What the routes are tried on: people, a product, and the owner's reserved order."""

    owner: Customer
    other: Customer
    product: str
    order: str

    def path(self, route: "Route") -> str:
        return route.path.format(owner=self.owner.id, product=self.product, order=self.order)


Body = Callable[[Scene], dict[str, Any]]


@dataclass(frozen=True)
class Route:
    """A route, and the status that each of nobody, owner, other and admin gets.

    A service's token, and one that somebody else's program got for another purpose, open nothing
    that is not open to all; `openid` is what the scope of that name gets, where it opens something.
    `alone`: it ends a session or changes a password, so its people are made for it alone.
    """

    method: str
    path: str
    answers: tuple[int, int, int, int]
    body: Body | None = None
    openid: int = 403
    alone: bool = False

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


def delivery(_: Scene) -> dict[str, Any]:
    return {"delta": 1, "reason": "delivery"}


def to(status: str) -> Body:
    return lambda _: {"status": status}


def named(letter: str) -> Body:
    return lambda scene: {"username": f"{letter}{scene.owner.id}"}


OPEN: Final = (200, 200, 200, 200)
KEEPERS: Final = (401, 403, 403, 200)
OWN: Final = (401, 200, 404, 200)
SIGNED_IN: Final = (401, 200, 200, 200)

ROUTES: Final = (
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
    Route("GET", "/api/users/me", SIGNED_IN),
    Route("GET", "/api/users/{owner}", OWN),
    Route("PATCH", "/api/users/{owner}", OWN, named("u")),
    Route("PUT", "/api/users/{owner}", OWN, named("v")),
    Route("GET", "/api/inventory", OPEN),
    Route("GET", "/api/inventory/{product}", OPEN),
    Route("POST", "/api/inventory", (401, 403, 403, 201), thing),
    Route("PUT", "/api/inventory/{product}", KEEPERS, thing),
    Route("PATCH", "/api/inventory/{product}", KEEPERS, lambda _: {"name": "Another"}),
    Route("POST", "/api/inventory/{product}/stock", KEEPERS, delivery),
    Route("DELETE", "/api/inventory/{product}", KEEPERS),
    Route("POST", "/api/orders", (401, 201, 201, 201), wish),
    Route("POST", "/api/orders", (401, 201, 403, 201), lambda s: wish(s) | {"user_id": s.owner.id}),
    Route("GET", "/api/orders", SIGNED_IN),
    Route("GET", "/api/orders?user_id={owner}", (401, 200, 403, 200)),
    Route("GET", "/api/orders/{order}", OWN),
    Route("GET", "/api/orders/{order}/history", OWN),
    # no customer completes an order: that is said before it is looked whose order it is
    Route("PUT", "/api/orders/{order}/status", (401, 403, 403, 200), to("COMPLETED")),
    Route("PUT", "/api/orders/{order}/status", OWN, to("CANCELLED")),
    Route("POST", "/api/email", KEEPERS, letter),
    Route("GET", "/api/security/events", KEEPERS),
    Route("POST", "/api/sessions/refresh", (401, 401, 401, 401), lambda _: {"refresh_token": "x"}),
    Route("GET", "/api/sessions", SIGNED_IN),
    Route("DELETE", "/api/sessions/{order}", (401, 404, 404, 404)),
    Route("DELETE", "/api/sessions/current", SIGNED_IN, alone=True),
    Route("DELETE", "/api/sessions", SIGNED_IN, alone=True),
    Route("GET", "/.well-known/jwks.json", OPEN),
    Route("GET", "/oauth/userinfo", SIGNED_IN, openid=200),
    Route("POST", "/oauth/userinfo", SIGNED_IN, openid=200),
    Route(
        "POST", "/api/sessions/exchange", (422, 422, 422, 422),
        lambda _: {"code": "none", "code_verifier": "v" * 43},
    ),
    Route("GET", "/livez", OPEN),
    Route("GET", "/readyz", OPEN),
    Route("GET", "/metrics", OPEN),
    Route("GET", "/openapi.json", OPEN),
    Route("GET", "/docs", OPEN),
)  # fmt: skip

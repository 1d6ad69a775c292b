"""A shopper's journey through the REST API: each step says what it shows, or breaks its word."""

import re
import secrets
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from mercato.cli.rest import Answer, Rest

STOCK: Final = 3
ORDERED: Final = 2
PRICE: Final = Decimal("24")  # fits every currency
PATIENCE_S: Final = 15.0  # for mails, and for stock that comes back
POLL_S: Final = 0.1

Step = Callable[[], str]


class Unkept(Exception):
    """A step did not show what it promises; says what it showed instead."""


class Journey:
    """One shopper, one admin and one product of their own; `steps` are to be walked in order."""

    def __init__(self, shop: Rest, mailbox: Rest | None, admin: tuple[str, str]) -> None:
        name = secrets.token_hex(4)
        self._shop, self._mailbox, self._admin_login = shop, mailbox, admin
        self._email, self._password = f"demo-{name}@mercato.example", secrets.token_urlsafe(12)
        self._lantern = f"Lantern {name}"
        self._key = f"demo-{name}"
        self._admin = self._shopper = shop
        self._product = self._order = ""

    def steps(self) -> Sequence[tuple[str, Step]]:
        """Each with the promise that it keeps."""
        confirmed, completed = (partial(self._mail, word) for word in ("confirmed", "completed"))
        return (
            ("an admin signs in and puts a product on the shelf", self._stock_the_shelf),
            ("a shopper registers", self._register),
            ("signs in and reads their profile", self._sign_in),
            ("is welcomed by mail", partial(self._mail, "welcome")),
            ("finds the product by its name", self._browse),
            ("looks at it; looking again costs no bytes", self._look),
            ("orders it, and waits for the stock's decision", self._place),
            ("the same Idempotency-Key again is the same order", self._place_again),
            ("the same key with another body is refused", self._place_another),
            ("the stock has fallen", partial(self._stock_is, STOCK - ORDERED)),
            ("the confirmation is in the mailbox", confirmed),
            ("more than there is: cancelled, out of stock", self._order_too_much),
            ("a cancelled order gives its stock back", self._change_mind),
            ("a shopper may not complete an order", self._complete_by_oneself),
            ("the admin completes it", self._complete),
            ("what is completed cannot be cancelled", self._cancel_too_late),
            ("the mail says so too", completed),
            ("the history tells it all", self._history),
        )

    def tidy(self) -> None:
        """Takes the product off the shelf."""
        if self._product:
            self._admin.call("DELETE", f"/api/inventory/{self._product}")

    def _stock_the_shelf(self) -> str:
        email, password = self._admin_login
        self._admin = self._shop.signed_in(self._token(email, password))
        product = {"name": self._lantern, "price": str(PRICE), "stock": STOCK, "category": "demo"}
        made = _expect(self._admin.call("POST", "/api/inventory", product), 201)
        self._product = made["id"]
        return f"{self._lantern}, {made['price']} {made['currency']}, {made['stock']} of them"

    def _register(self) -> str:
        wish = {"email": self._email, "password": self._password}
        user = _expect(self._shop.call("POST", "/api/users/register", wish), 201)
        return f"{self._email} is user {user['id']}"

    def _sign_in(self) -> str:
        try:
            token = self._token(self._email, self._password)
        except Unkept as refusal:
            self._verify(refusal)
            token = self._token(self._email, self._password)
        self._shopper = self._shop.signed_in(token)
        profile = _expect(self._shopper.call("GET", "/api/users/me"), 200)
        _must(profile["email"] == self._email, f"the profile is {profile['email']}'s")
        return f"{profile['username']}, a {profile['role']}"

    def _verify(self, refusal: Unkept) -> None:
        """Uses the link in the mail, where PRIVATE_REGISTRATION lets nobody in before."""
        mailbox = self._mailbox
        if mailbox is None:
            raise Unkept(
                f"{refusal}; with PRIVATE_REGISTRATION=on it needs --mailbox URL, for a link"
            )

        def look() -> tuple[bool, str]:
            path = f"/api/v1/search?query=to:{self._email}"
            mails = _expect(mailbox.call("GET", path), 200)["messages"]
            texts = [mailbox.call("GET", f"/api/v1/message/{mail['ID']}").body for mail in mails]
            links = [re.search(r"/account/verify\?token=([\w-]+)", text["Text"]) for text in texts]
            found = [link[1] for link in links if link]
            return bool(found), found[0] if found else f"{refusal}; no mail has a link"

        _expect(self._shop.call("POST", "/api/users/verify-email", {"token": _soon(look)}), 200)

    def _token(self, email: str, password: str) -> str:
        login = {"email": email, "password": password}
        return str(_expect(self._shop.call("POST", "/api/users/authenticate", login), 200)["token"])

    def _mail(self, word: str) -> str:
        mailbox = self._mailbox
        if mailbox is None:
            return "not looked for: no mailbox is known here"

        def look() -> tuple[bool, str]:
            path = f"/api/v1/search?query=to:{self._email}"
            mails = _expect(mailbox.call("GET", path), 200)["messages"]
            subjects = [mail["Subject"] for mail in mails]
            found = [subject for subject in subjects if word in subject.lower()]
            return bool(found), found[0] if found else f"there is no such mail, only {subjects}"

        return _soon(look)

    def _browse(self) -> str:
        path = f"/api/inventory?q={quote(self._lantern)}"
        found = _expect(self._shop.call("GET", path), 200)["products"]
        _must([each["id"] for each in found] == [self._product], f"the search finds {found}")
        total = _expect(self._shop.call("GET", "/api/inventory?limit=1"), 200)["total"]
        return f"one of {total:,} products"

    def _look(self) -> str:
        path = f"/api/inventory/{self._product}"
        answer = self._shop.call("GET", path)
        _expect(answer, 200)
        tag = answer.headers["ETag"] or ""
        _expect(self._shop.call("GET", path, headers={"If-None-Match": tag}), 304)
        return f"ETag {tag}: 304 Not Modified"

    def _post_order(self, quantity: int, key: str = "") -> Answer:
        lines = [{"product_id": self._product, "quantity": quantity}]
        headers = {"Prefer": "wait=10"} | ({"Idempotency-Key": key} if key else {})
        return self._shopper.call("POST", "/api/orders", {"items": lines}, headers)

    def _settled(self, order_id: str, status: str, stock: str) -> str:
        def look() -> tuple[bool, str]:
            order = _expect(self._shopper.call("GET", f"/api/orders/{order_id}"), 200)
            reason = f" ({order['reason']})" if "reason" in order else ""
            said = f"order {order_id} is {order['status']}, its stock {order['stock']}{reason}"
            return (order["status"], order["stock"]) == (status, stock), said

        return _soon(look)

    def _place(self) -> str:
        order = _expect(self._post_order(ORDERED, self._key), 201)
        self._order = order["id"]
        _must(order["total"] == PRICE * ORDERED, f"the total is {order['total']}")
        return self._settled(self._order, "PENDING", "RESERVED")

    def _place_again(self) -> str:
        again = _expect(self._post_order(ORDERED, self._key), 201)["id"]
        _must(again == self._order, f"there is a second order, {again}")
        return f"order {again}"

    def _place_another(self) -> str:
        return _refusal(self._post_order(ORDERED - 1, self._key), 422)

    def _stock_is(self, units: int) -> str:
        def look() -> tuple[bool, str]:
            product = _expect(self._shop.call("GET", f"/api/inventory/{self._product}"), 200)
            return product["stock"] == units, f"{product['stock']} on the shelf"

        return _soon(look)

    def _order_too_much(self) -> str:
        order = _expect(self._post_order(STOCK), 201)
        said = self._settled(order["id"], "CANCELLED", "REJECTED")
        _must("out_of_stock" in said, said)
        return f"{said}; {self._stock_is(STOCK - ORDERED)}"

    def _change_mind(self) -> str:
        order_id = _expect(self._post_order(STOCK - ORDERED), 201)["id"]
        self._settled(order_id, "PENDING", "RESERVED")
        none_left = self._stock_is(0)
        _expect(self._set_status(self._shopper, order_id, "CANCELLED"), 200)
        self._settled(order_id, "CANCELLED", "RELEASED")
        return f"{none_left}, then {self._stock_is(STOCK - ORDERED)}"

    def _set_status(self, who: Rest, order_id: str, status: str) -> Answer:
        return who.call("PUT", f"/api/orders/{order_id}/status", {"status": status})

    def _complete_by_oneself(self) -> str:
        return _refusal(self._set_status(self._shopper, self._order, "COMPLETED"), 403)

    def _complete(self) -> str:
        order = _expect(self._set_status(self._admin, self._order, "COMPLETED"), 200)
        _must(order["status"] == "COMPLETED", f"the order is {order['status']}")
        return f"order {order['id']} is {order['status']}"

    def _cancel_too_late(self) -> str:
        return _refusal(self._set_status(self._admin, self._order, "CANCELLED"), 409)

    def _history(self) -> str:
        path = f"/api/orders/{self._order}/history"
        actions = [
            entry["action"] for entry in _expect(self._shopper.call("GET", path), 200)["entries"]
        ]
        _must({"placed", "completed"} <= set(actions), f"it tells only {actions}")
        return ", ".join(actions)


def _expect(answer: Answer, status: int) -> Any:
    """Returns the body of an answer with this status; raises Unkept for any other."""
    if answer.status != status:
        problem = answer.body if isinstance(answer.body, dict) else {}
        raise Unkept(f"{answer.status} instead of {status} {problem.get('detail', '')}".rstrip())
    return answer.body


def _refusal(answer: Answer, status: int) -> str:
    problem = _expect(answer, status)
    return f"{status} {problem['code']}: {problem['detail']}"


def _must(kept: bool, otherwise: str) -> None:
    if not kept:
        raise Unkept(otherwise)


def _soon(look: Callable[[], tuple[bool, str]]) -> str:
    """Looks until it is so; returns what was seen, or raises Unkept with it."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        kept, seen = look()
        if kept:
            return seen
        _must(time.monotonic() < give_up_at, seen)
        time.sleep(POLL_S)

"""Opens the shop before the storm: customers with accounts, and a shelf of products."""

import asyncio
import random
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from mercato.embedded.errors import PlatformError
from mercato.kernel.identity import new_id
from mercato.storm.book import Book, Customer, Product
from mercato.storm.wire import Answer, NoAnswer, Wire

CUSTOMERS_MAX: Final = 16
PRODUCTS: Final = 48
HOT_SHARE: Final = 0.10  # of the orders can have the hot product: a third as many as want it
COLD_SHARE: Final = 0.08
TRIES_MAX: Final = 40
RETRY_S: Final = 0.25
RENEW_S: Final = 300.0  # a third of a token's life
PASSWORD: Final = "a long pass phrase for a storm"  # noqa: S105


async def open_shop(
    port: int,
    logins: Mapping[str, str],
    orders: int,
    clients: int,
    tls: ssl.SSLContext | None = None,
) -> Book:
    """Returns a book with customers and products, some of which will sell out.

    `logins` are those of the staff, the admin's first. Raises PlatformError when the platform does
    not serve.
    """
    wire = Wire(port, tls)
    try:
        book = Book([await _login(wire, *login) for login in logins.items()])
        for _ in range(min(clients, CUSTOMERS_MAX)):
            book.customers.append(await _register(wire))
        for number in range(PRODUCTS + 1):
            share = COLD_SHARE if number else HOT_SHARE
            product = await _shelve(wire, book.admin, max(1, round(orders * share)))
            book.products[product.id] = product
            book.hot = book.hot or product.id
        return book
    finally:
        wire.close()


async def renew(book: Book, port: int, tls: ssl.SSLContext | None = None) -> None:
    """Logs everybody in again and again, for ever; a round that fails is for the next one."""
    wire = Wire(port, tls)
    try:
        while True:
            await asyncio.sleep(RENEW_S)
            for account in (*book.staff, *book.customers):
                with suppress(PlatformError):
                    account.token = await _token(wire, account.email, account.password)
    finally:
        wire.close()


async def _login(wire: Wire, email: str, password: str) -> Customer:
    token = await _token(wire, email, password)
    me = (await _ask(wire, "GET", "/api/users/me", None, 200, token)).json()
    return Customer(me["id"], email, password, token)


async def _token(wire: Wire, email: str, password: str) -> str:
    body = {"email": email, "password": password}
    return str((await _ask(wire, "POST", "/api/users/authenticate", body, 200)).json()["token"])


async def _register(wire: Wire) -> Customer:
    email = f"storm-{new_id()}@example.com"
    await _ask(wire, "POST", "/api/users/register", {"email": email, "password": PASSWORD}, 201)
    return await _login(wire, email, PASSWORD)


async def _shelve(wire: Wire, admin: Customer, stock: int) -> Product:
    price = random.randint(100, 9999)  # noqa: S311
    body = {"name": f"Thing {new_id()}", "price": f"{price / 100:.2f}", "stock": stock}
    told = (await _ask(wire, "POST", "/api/inventory", body, 201, admin.token)).json()
    return Product(told["id"], price, stock)


async def _ask(
    wire: Wire, method: str, path: str, body: Any, status: int, token: str = ""
) -> Answer:
    """Asks while the platform is warming up; raises PlatformError when it does not serve."""
    trouble = ""
    for _ in range(TRIES_MAX):
        try:
            answer = await wire.call(method, path, token=token, body=body)
        except NoAnswer as failure:
            trouble = str(failure)
        else:
            if answer.status == status:
                return answer
            trouble = f"{answer.status} {answer.body[:200]!r}"
        await asyncio.sleep(RETRY_S)
    raise PlatformError(f"the shop cannot be opened: {method} {path}: {trouble}")

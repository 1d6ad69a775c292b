"""What the story's tests do with a shop: as its customers, as its keeper, and as its auditor."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from bson import ObjectId
from pymongo import AsyncMongoClient

from mercato.embedded.secure.mode import trusting
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from tests.story.renewing import Renewing, signed_in

PASSWORD = "a good long pass phrase"
CONNECTIONS_MAX = 100


@dataclass
class Customer:
    """Somebody with an account; `headers` carry their token."""

    id: str
    email: str
    headers: dict[str, str] = field(repr=False)


class Shop:
    """A running platform, seen through its public doors and, for audits, its database."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.url = platform.urls["gateway"]
        limits = httpx2.Limits(max_connections=CONNECTIONS_MAX)
        trusted = trusting(platform.data_dir, self.url) or False
        self.http = httpx2.AsyncClient(
            base_url=self.url, timeout=30, limits=limits, verify=trusted, auth=Renewing(self.url)
        )
        self.mailbox = httpx2.AsyncClient(base_url=platform.urls["mailbox"], timeout=10)
        name = platform.environment.get("MONGO_DB_NAME", "ecommerce")
        self.mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            platform.environment["MONGO_URI"], tz_aware=True
        )
        self.database = self.mongo[name]
        self.admin: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def of(cls, platform: Platform) -> AsyncIterator["Shop"]:
        """The platform's shop with its keeper logged in; closed when one leaves it."""
        shop = cls(platform)
        try:
            email, password = next(iter(platform.logins.items()))
            shop.admin = await shop.login(email, password)
            yield shop
        finally:
            await shop.http.aclose()
            await shop.mailbox.aclose()
            await shop.mongo.close()

    async def login(self, email: str, password: str) -> dict[str, str]:
        body = {"email": email, "password": password}
        answer = await self.http.post("/api/users/authenticate", json=body)
        assert answer.status_code == 200, answer.text
        return signed_in(answer.json())

    async def register(self, name: str = "buyer") -> Customer:
        email = f"{name}-{new_id()}@example.com"
        body = {"email": email, "password": PASSWORD}
        answer = await self.http.post("/api/users/register", json=body)
        assert answer.status_code == 201, answer.text
        return Customer(answer.json()["id"], email, await self.login(email, PASSWORD))

    async def add_product(self, stock: int, price: str = "9.99", **more: Any) -> str:
        body = {"name": f"Thing {new_id()}", "price": price, "stock": stock, **more}
        answer = await self.http.post("/api/inventory", json=body, headers=self.admin)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def place(
        self, buyer: Customer, items: dict[str, int], key: str = "", wait_s: int = 0
    ) -> httpx2.Response:
        lines = [{"product_id": p, "quantity": q} for p, q in items.items()]
        headers = buyer.headers | {"Idempotency-Key": key or new_id()}
        headers |= {"Prefer": f"wait={wait_s}"} if wait_s else {}
        return await self.http.post("/api/orders", json={"items": lines}, headers=headers)

    async def place_for_sure(self, buyer: Customer, items: dict[str, int]) -> dict[str, Any]:
        """Places an order as a good client does: the same key again until there is an answer."""
        key, until = new_id(), time.monotonic() + 60
        while time.monotonic() < until:
            try:
                answer = await self.place(buyer, items, key)
            except httpx2.TransportError:
                continue
            if answer.status_code == 201:
                return dict(answer.json())
            assert answer.status_code == 503, answer.text
            assert answer.headers["Retry-After"]
            await asyncio.sleep(0.2)
        raise AssertionError("the order could not be placed within a minute")

    async def order(self, buyer: Customer, order_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/orders/{order_id}", headers=buyer.headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def stock(self, product_id: str) -> int:
        found = await self.database.products.find_one({"_id": ObjectId(product_id)})
        assert found is not None
        return int(found["stock"])

    async def settled(self, order_ids: list[str], within_s: float) -> Counter[tuple[str, str]]:
        """Waits until inventory has answered every order; returns how many are in which state."""
        ids = [ObjectId(order_id) for order_id in order_ids]

        async def none_waits() -> bool:
            waiting = {"_id": {"$in": ids}, "stock": "AWAITING"}
            return await self.database.orders.count_documents(waiting) == 0

        await eventually(none_waits, within_s, "orders still wait for their stock")
        found = await self.database.orders.find({"_id": {"$in": ids}}).to_list()
        assert len(found) == len(set(order_ids)), "an acknowledged order is lost"
        return Counter((order["status"], order["reason"] or order["stock"]) for order in found)

    async def balanced(self, product_id: str) -> None:
        """The ledger explains the stock, and the reservations explain the ledger."""
        product = ObjectId(product_id)
        ledger = await self.database.stock_ledger.find({"product_id": product}).to_list()
        assert sum(row["delta"] for row in ledger) == await self.stock(product_id)
        taken = -sum(row["delta"] for row in ledger if row["cause"] in ("held", "released"))
        query = {"state": {"$in": ["HELD", "SOLD"]}, "items.product_id": product}
        reservations = await self.database.reservations.find(query).to_list()
        items = [item for reservation in reservations for item in reservation["items"]]
        held = sum(item["quantity"] for item in items if item["product_id"] == product)
        assert taken == held, "reservations and ledger disagree"

    async def mails_to(self, email: str) -> list[dict[str, Any]]:
        answer = await self.mailbox.get("/api/v1/search", params={"query": f"to:{email}"})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["messages"])

    async def gets_mails(self, email: str, count: int, within_s: float = 20) -> list[str]:
        """Waits for `count` mails, sees that no further one follows; returns their subjects."""

        async def enough() -> bool:
            return len(await self.mails_to(email)) >= count

        await eventually(enough, within_s, f"{email} has not got {count} mails")
        mails = await self.mails_to(email)
        assert len(mails) == count, [mail["Subject"] for mail in mails]
        assert len({mail["MessageID"] for mail in mails}) == count, "a mail came twice"
        return sorted(mail["Subject"] for mail in mails)


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float, otherwise: str) -> None:
    """Polls until `holds`; fails saying `otherwise` when it has not within `within_s`."""
    until = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < until, otherwise
        await asyncio.sleep(0.1)

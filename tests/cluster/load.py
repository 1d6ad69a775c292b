"""Orders and reads at a steady rate, and every one of them that went wrong."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from mercato.kernel.identity import new_id
from mercato.platform.tasks import Tasks
from tests.story.client import Client
from tests.story.renewing import present
from tests.story.shop import Customer, Shop

RECENT = 200  # orders that are read again and again
RENEW_S = 60.0  # as often is looked whether the token has to be renewed
LATE_S = 30.0  # for the last answers


@dataclass
class Load:
    """Sends `rate` requests a second, a part of them orders, the others reads of orders and goods.

    Nothing is sent a second time: each failure counts.
    """

    shop: Shop
    buyer: Customer
    products: list[str]
    rate: float = 50.0
    orders_part: float = 0.3
    placed: list[str] = field(default_factory=list)
    written_at: list[tuple[float, float]] = field(default_factory=list)  # began, acknowledged
    failed_writes: list[str] = field(default_factory=list)
    failed_reads: list[str] = field(default_factory=list)
    reads: int = 0
    slowest_read_s: float = 0.0

    def __post_init__(self) -> None:
        self._client = Client(self.shop.url)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Sends inside; has every answer afterwards."""
        requests = Tasks()
        sending = Tasks()
        sending.start(self._send(requests))
        try:
            yield self
        finally:
            await sending.drain(0)
            await requests.drain(LATE_S)
            self._client.close()

    @property
    def failed(self) -> list[str]:
        return [*self.failed_writes, *self.failed_reads]

    async def first_write_s(self, since: float, within_s: float) -> float:
        """Waits for an order that began after `since` (monotonic); returns when it had its 201."""
        until = since + within_s
        while True:
            done = [end for began, end in self.written_at if began >= since]
            if done:
                return min(done) - since
            assert time.monotonic() < until, f"no order for {within_s} s: {self.failed_writes[-3:]}"
            await asyncio.sleep(0.02)

    async def _send(self, requests: Tasks) -> None:
        began = time.monotonic()
        sent, renew_at = 0, began + RENEW_S
        while True:
            if time.monotonic() > renew_at:
                renew_at += RENEW_S
                requests.start(self.shop.http.get("/api/users/me", headers=self.buyer.headers))
            while sent < (time.monotonic() - began) * self.rate:
                sent += 1
                order = not self.placed or random.random() < self.orders_part
                requests.start(self._write() if order else self._read())
            await asyncio.sleep(0.005)

    async def _write(self) -> None:
        began = time.monotonic()
        headers = self.buyer.headers | {"Idempotency-Key": new_id()}
        items = [{"product_id": random.choice(self.products), "quantity": 1}]
        status, answer = await self._ask("POST", "/api/orders", headers, {"items": items})
        if status == 201:
            self.placed.append(answer["id"])
            self.written_at.append((began, time.monotonic()))
        else:
            self.failed_writes.append(f"{status} {answer}")

    async def _read(self) -> None:
        path = random.choice(
            (
                f"/api/inventory/{random.choice(self.products)}",
                f"/api/orders/{random.choice(self.placed[-RECENT:])}",
                # each time another list, which comes from the database, whatever is cached
                f"/api/inventory?limit=5&page={random.randint(1, 100_000)}",
                "/api/orders?limit=5",
            )
        )
        began = time.monotonic()
        self.reads += 1
        status, answer = await self._ask("GET", path, self.buyer.headers)
        if status != 200:
            self.failed_reads.append(f"{status} {path} {answer}")
        self.slowest_read_s = max(self.slowest_read_s, time.monotonic() - began)

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], content: object = None
    ) -> tuple[int, Any]:
        try:
            return await self._client.ask(method, path, present(headers), content)
        except (OSError, EOFError) as failure:
            return 0, repr(failure)


async def lost(load: Load) -> int:
    """Counts the orders that were answered 201 and are not in the database."""
    ids = [ObjectId(order_id) for order_id in load.placed]
    there = await load.shop.database.orders.count_documents({"_id": {"$in": ids}})
    return len(set(ids)) - there


async def nothing_lost(load: Load, within_s: float) -> None:
    """Every order that was answered 201 is there, has its stock, and has it once."""
    states = await load.shop.settled(load.placed, within_s)
    assert states == {("PENDING", "RESERVED"): len(load.placed)}
    for product in load.products:
        await load.shop.balanced(product)

"""The load: many clients, each of which repeats a request under its key until it is answered."""

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mercato.kernel.identity import new_id
from mercato.platform.tasks import end
from mercato.storm.book import Book, Customer, Placed, Restock
from mercato.storm.wire import Answer, NoAnswer, Wire

HOT: Final = 0.3  # of all orders want one unit of the hot product
LINES_MAX, UNITS_MAX = 5, 3
CANCELLED, COMPLETED, RACED, REPEATED, RESTOCKED = 0.10, 0.12, 0.01, 0.05, 0.02
FOLLOWS_S_MAX: Final = 3.0  # a cancellation or completion follows its order within this time
COMPLETIONS_MAX: Final = 6  # tries to complete an order whose stock is not decided yet
RETRY_S_MIN, RETRY_S_MAX = 0.05, 1.0

Job = Callable[[Wire], Awaitable[None]]


class Clients:
    """`count` clients that place `orders` orders, evenly over `spread_s` if the platform can."""

    def __init__(
        self, book: Book, port: int, *, orders: int, spread_s: float, count: int, seed: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._book = book
        self._tls = tls
        self._port = port
        self._admin = book.admin
        self._orders = orders
        self._interval_s = spread_s / orders
        self._count = count
        self._random = random.Random(seed)  # noqa: S311
        self._cold = [product for product in book.products if product != book.hot]
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._outstanding = 0
        self._idle = asyncio.Event()
        self.began = time.monotonic()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    async def run(self) -> None:
        """Returns when every order, and what follows on it, has been answered."""
        workers: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                workers.append(group.create_task(self._work()))
            await self._place_all()
            while self._outstanding:
                self._idle.clear()
                await self._idle.wait()
            await end(workers)

    async def _place_all(self) -> None:
        for number in range(self._orders):
            ahead_s = number * self._interval_s - self.now_s
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            self._soon(self._place)
            if self._random.random() < RESTOCKED:
                self._soon(self._restock)

    def _soon(self, job: Job, delay_s: float = 0.0) -> None:
        self._outstanding += 1
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._jobs.put_nowait, job)
        else:
            self._jobs.put_nowait(job)

    async def _work(self) -> None:
        wire = Wire(self._port, self._tls)
        try:
            while True:
                job = await self._jobs.get()
                await job(wire)
                self._outstanding -= 1
                if not self._outstanding:
                    self._idle.set()
        finally:
            wire.close()

    async def _place(self, wire: Wire) -> None:
        customer = self._random.choice(self._book.customers)
        order = Placed(new_id(), customer, self._wanted(), self.now_s)
        self._book.orders[order.key] = order
        answer = await self._ask_for(wire, order)
        if answer.status != 201:
            self._book.contradict(f"an order was answered {answer.status}: {answer.body[:200]!r}")
            return
        told = answer.json()
        order.order_id, order.acknowledged_s = told["id"], self.now_s
        self._check(order, told)
        self._follow(order, answer)

    async def _ask_for(self, wire: Wire, order: Placed) -> Answer:
        items = [{"product_id": p, "quantity": q} for p, q in order.lines.items()]
        return await self._insist(
            wire, "POST", "/api/orders", by=order.customer, key=order.key, body={"items": items},
            placed=order,
        )  # fmt: skip

    def _wanted(self) -> dict[str, int]:
        if self._random.random() < HOT:
            return {self._book.hot: 1}
        chosen = self._random.sample(self._cold, self._random.randint(1, LINES_MAX))
        return {product: self._random.randint(1, UNITS_MAX) for product in chosen}

    def _check(self, order: Placed, told: Mapping[str, Any]) -> None:
        lines = {item["product_id"]: item["quantity"] for item in told["items"]}
        prices = self._book.products
        total = sum(prices[p].price * q for p, q in order.lines.items())
        if lines != order.lines or round(told["total"] * 100) != total:
            self._book.contradict(f"order {order.order_id} is not what was ordered")

    def _follow(self, order: Placed, answer: Answer) -> None:
        """Decides what its client does with an order later on."""
        delay_s, chance = self._random.uniform(0.01, FOLLOWS_S_MAX), self._random.random()
        if chance < CANCELLED + RACED:
            self._soon(lambda wire: self._cancel(wire, order), delay_s)
        if CANCELLED < chance < CANCELLED + COMPLETED:
            self._soon(lambda wire: self._complete(wire, order, COMPLETIONS_MAX), delay_s)
        if self._random.random() < REPEATED:
            self._soon(lambda wire: self._repeat(wire, order, answer), delay_s / 2)

    async def _cancel(self, wire: Wire, order: Placed) -> None:
        answer = await self._set_status(wire, order, order.customer, "CANCELLED")
        order.cancelled = answer.status == 200
        if answer.status not in (200, 409):
            self._book.contradict(f"a cancellation was answered {answer.status}")

    async def _complete(self, wire: Wire, order: Placed, tries: int) -> None:
        answer = await self._set_status(wire, order, self._admin, "COMPLETED")
        order.completed = answer.status == 200
        if answer.status not in (200, 409):
            self._book.contradict(f"a completion was answered {answer.status}")
        elif answer.status == 409 and tries > 1 and b"AWAITING" in answer.body:
            self._soon(lambda wire: self._complete(wire, order, tries - 1), 1.0)

    async def _set_status(self, wire: Wire, order: Placed, by: Customer, status: str) -> Answer:
        path, body = f"/api/orders/{order.order_id}/status", {"status": status}
        return await self._insist(wire, "PUT", path, by=by, body=body)

    async def _repeat(self, wire: Wire, order: Placed, first: Answer) -> None:
        """Sends an answered order once more: the same key must get the same bytes."""
        self._book.repeats += 1
        answer = await self._ask_for(wire, order)
        if (answer.status, answer.body) != (first.status, first.body):
            self._book.contradict(f"the key {order.key} was answered another way")

    async def _restock(self, wire: Wire) -> None:
        hot = self._random.random() < HOT
        product = self._book.hot if hot else self._random.choice(self._cold)
        restock = Restock(new_id(), product, self._random.randint(1, 20))
        self._book.restocks.append(restock)
        body = {"delta": restock.delta, "reason": "delivered"}
        path = f"/api/inventory/{product}/stock"
        answer = await self._insist(wire, "POST", path, by=self._admin, key=restock.key, body=body)
        if answer.status == 200:
            restock.acknowledged_s = self.now_s
        else:
            self._book.contradict(f"a restock was answered {answer.status}: {answer.body[:200]!r}")

    async def _insist(
        self, wire: Wire, method: str, path: str, *, by: Customer, key: str = "", body: object,
        placed: Placed | None = None,
    ) -> Answer:  # fmt: skip
        """Repeats a request until it is answered by more than `not now`."""
        delay_s = RETRY_S_MIN
        while True:
            if placed is not None:
                placed.tries += 1
            asked = time.monotonic()
            try:
                answer = await wire.call(method, path, token=by.token, key=key, body=body)
            except NoAnswer as failure:
                self._book.failures[str(failure)] += 1
            else:
                self._book.statuses[answer.status] += 1
                if answer.status == 201 and placed is not None:
                    self._book.answers.append((self.now_s, time.monotonic() - asked))
                if answer.status < 500 and answer.status != 429:
                    return answer
                delay_s = max(delay_s, float(answer.headers.get("retry-after", 0)) / 2)
            await asyncio.sleep(delay_s * self._random.uniform(0.5, 1.5))
            delay_s = min(2 * delay_s, RETRY_S_MAX)

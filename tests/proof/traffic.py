"""Orders that go on being placed while something happens to the platform."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from mercato.platform.tasks import end
from tests.story.shop import Customer, Shop


@dataclass
class Traffic:
    """What has come of it so far: orders' ids, seconds of each answer, refusals by status."""

    placed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        return len(self.placed) + sum(self.refused.values())

    def cut(self) -> "Traffic":
        """Returns what there is, and begins anew with nothing."""
        past = Traffic(self.placed, self.seconds, self.refused)
        self.placed, self.seconds, self.refused = [], [], {}
        return past


@asynccontextmanager
async def clients(
    shop: Shop, buyer: Customer, products: Sequence[str], count: int
) -> AsyncIterator[Traffic]:
    """`count` clients that each place one order after the other, surely."""
    traffic = Traffic()

    async def buy(number: int) -> None:
        while True:
            product = products[(number + len(traffic.placed)) % len(products)]
            traffic.placed.append((await shop.place_for_sure(buyer, {product: 1}))["id"])

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(buy(number)) for number in range(count)]
    try:
        yield traffic
    finally:
        await end(tasks)


@asynccontextmanager
async def paced(shop: Shop, buyer: Customer, product: str, per_s: float) -> AsyncIterator[Traffic]:
    """`per_s` orders a second, each tried once, whether or not those before have been answered."""
    traffic = Traffic()

    async def once() -> None:
        began = time.perf_counter()
        try:
            answer = await shop.place(buyer, {product: 1})
        except httpx2.TransportError:
            status = 0
        else:
            status = answer.status_code
        traffic.seconds.append(time.perf_counter() - began)
        if status == 201:
            traffic.placed.append(answer.json()["id"])
        else:
            traffic.refused[status] = traffic.refused.get(status, 0) + 1

    async def pace() -> None:
        began, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                while sent < (time.monotonic() - began) * per_s:
                    group.create_task(once())
                    sent += 1
                await asyncio.sleep(0.5 / per_s)

    stopping = asyncio.Event()
    task = asyncio.get_running_loop().create_task(pace())
    try:
        yield traffic
    finally:
        stopping.set()
        await task

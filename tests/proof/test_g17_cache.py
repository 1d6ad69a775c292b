"""G17: the cache shows nothing that has been changed a second ago, and its loss breaks nothing."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from bson import ObjectId
from redis.asyncio import Redis

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.platform.cache import Cache
from mercato.platform.tasks import end
from tests.proof.figures import Crowd, Figures, p99_ms, sized
from tests.story.shop import Shop

COPIES = 4
AT_ONCE = 200
MISSES = 1_000
READS_OF_DATABASE_MAX = 2
GATEWAY_KEEPS_S = 2.5  # a product's page, in its own memory, for less
READERS = 16
PHASE_S = 10.0
SLOWER_MS_MAX = 100.0
SEED = 17
pytestmark = pytest.mark.timeout(600)


class Thing:
    """A row of a database, and copies of a service that read it through the cache and change it."""

    def __init__(self, copies: list[Cache], dice: random.Random) -> None:
        self.key = f"proof:{new_id()}"
        self.version = 0
        self._copies = copies
        self._dice = dice

    async def read(self) -> int:
        """What a reader gets: the cached version, else the database's, which is then cached."""
        cache = self._dice.choice(self._copies)
        known = await cache.get_many([self.key], int)
        if self.key in known:
            return known[self.key]
        await self._dawdle()
        loaded = self.version
        await self._dawdle()
        await cache.put_many({self.key: (loaded, loaded)})
        return loaded

    async def change(self) -> None:
        """Commits the next version; tells the cache after it."""
        await self._dawdle()
        self.version += 1
        told = self.version
        await self._dawdle()
        await self._dice.choice(self._copies).forget({self.key: told})

    async def _dawdle(self) -> None:
        for _ in range(self._dice.randint(0, 3)):
            await asyncio.sleep(0)


async def test_no_interleaving_of_readers_and_writers_leaves_an_old_version_behind(
    servers: Platform, figures: Figures
) -> None:
    wanted, dice, crowd = sized(100_000, least=2_000), random.Random(SEED), Crowd()
    stale = slow = 0
    async with AsyncExitStack() as stack:
        address = servers.environment["REDIS_ADDR"]
        copies = [await stack.enter_async_context(Cache.open(address)) for _ in range(COPIES)]

        async def interleave() -> int:
            thing = Thing(copies, dice)
            acts = [thing.read, thing.read, thing.change, thing.read, thing.change]
            dice.shuffle(acts)
            await asyncio.gather(*(act() for act in acts))
            return sum([await thing.read() < thing.version for _ in range(2)])

        began = time.monotonic()
        for _ in range(0, wanted, AT_ONCE):
            stale += sum(await asyncio.gather(*(interleave() for _ in range(AT_ONCE))))
            slow += sum(bool(copy._rest_until) for copy in copies)
        seconds = time.monotonic() - began
    figures.tell(
        "G17", interleavings=wanted, seed=SEED, stale_reads=stale, interleave_s=seconds,
        times_the_cache_was_given_up=slow, cores_free_for_us=crowd.free_cores,
    )  # fmt: skip
    assert stale == 0
    assert slow < wanted / AT_ONCE * COPIES / 2, "the cache was away most of the time"


async def test_a_thousand_misses_at_once_read_the_database_twice_at_most(
    shop: Shop, figures: Figures
) -> None:
    product = await shop.add_product(5)
    await asyncio.sleep(GATEWAY_KEEPS_S)
    await _flushed(shop)
    await shop.database.command("profile", 2)
    try:
        statuses = await _all_at_once(shop, f"/api/inventory/{product}", MISSES)
        mine = {"command.filter._id.$in": ObjectId(product)}  # not the audit's look at all
        looked: dict[str, Any] = {"op": "query", "command.find": "products", **mine}
        read = await shop.database["system.profile"].count_documents(looked)
    finally:
        await shop.database.command("profile", 0)
    figures.tell("G17", misses_at_once=MISSES, reads_of_database=read)
    assert statuses == {200: MISSES}
    assert 1 <= read <= READS_OF_DATABASE_MAX


async def test_reads_go_on_while_valkey_is_killed_frozen_or_emptied(
    shop: Shop, figures: Figures
) -> None:
    buyer = await shop.register("reader")
    products = [await shop.add_product(100) for _ in range(50)]
    orders = [(await shop.place_for_sure(buyer, {products[0]: 1}))["id"] for _ in range(20)]
    urls = [f"/api/inventory/{each}" for each in products] + [f"/api/orders/{o}" for o in orders]

    async def frozen() -> None:
        shop.platform.kill("redis", signal.SIGSTOP)
        await asyncio.sleep(5)
        shop.platform.kill("redis", signal.SIGCONT)

    async def killed() -> None:
        shop.platform.kill("redis")
        await asyncio.wait_for(shop.platform.wait_ready("redis"), 30)

    async def nothing() -> None:
        """The baseline."""

    phases: dict[str, Callable[[], Awaitable[None]]] = {
        "baseline": nothing, "killed": killed, "frozen": frozen,
        "flushed": lambda: _flushed(shop),
    }  # fmt: skip
    p99s, answers = {}, Counter[int]()
    for name, fault in phases.items():
        async with _readers(shop, urls, buyer.headers) as (seconds, statuses):
            await asyncio.sleep(1)
            await fault()
            await asyncio.sleep(PHASE_S - 1)
        p99s[name], answers = p99_ms(seconds), answers + statuses
    named = {f"p99_ms_{name}": value for name, value in p99s.items()}
    bad = sum(count for status, count in answers.items() if status != 200)
    figures.tell("G17", reads=answers.total(), not_200=bad, **named)
    assert bad == 0, answers
    assert max(p99s.values()) <= p99s["baseline"] + SLOWER_MS_MAX


@asynccontextmanager
async def _readers(
    shop: Shop, urls: list[str], headers: dict[str, str]
) -> AsyncIterator[tuple[list[float], Counter[int]]]:
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    async def read(number: int) -> None:
        while True:
            url = urls[(number * 31 + len(seconds)) % len(urls)]
            began = time.perf_counter()
            answer = await shop.http.get(url, headers=headers)
            seconds.append(time.perf_counter() - began)
            statuses[answer.status_code] += 1

    tasks = [asyncio.get_running_loop().create_task(read(number)) for number in range(READERS)]
    try:
        yield seconds, statuses
    finally:
        await end(tasks)


async def _flushed(shop: Shop) -> None:
    host, _, port = shop.platform.environment["REDIS_ADDR"].rpartition(":")
    async with Redis(host=host, port=int(port)) as redis:
        await redis.flushall()


async def _all_at_once(shop: Shop, path: str, count: int) -> Counter[int]:
    """Opens `count` connections, then asks on all of them in one breath."""
    where = urlsplit(shop.url)
    asked = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode()
    room = asyncio.Semaphore(100)

    async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with room:
            return await asyncio.open_connection(where.hostname, where.port)

    streams = await asyncio.gather(*(connected() for _ in range(count)))
    for _, writer in streams:
        writer.write(asked)

    async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        try:
            line = await asyncio.wait_for(reader.readline(), 30)
            return int(line.split()[1])
        finally:
            writer.close()

    return Counter(await asyncio.gather(*(status(*stream) for stream in streams)))

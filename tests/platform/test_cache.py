"""The cache: never older than a change, never needed, and never somebody else's value."""

import asyncio
import random
import signal
import time
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.platform.cache import REST_S, TIMEOUT_S, Cache
from mercato.platform.memory import Memory
from mercato.storm.proxy import Proxy


@dataclass(frozen=True)
class Thing:
    name: str
    size: int = 0


CLOSED = 1  # a port that nobody listens on


def key() -> str:
    return f"thing:{new_id()}"


async def got(cache: Cache, name: str) -> Thing | None:
    return (await cache.get_many([name], Thing)).get(name)


async def fill(cache: Cache, values: dict[str, tuple[int, Thing]]) -> None:
    """Stores as a reader does: it has asked before."""
    await cache.get_many(list(values), Thing)
    await cache.put_many(values)


@pytest.fixture(scope="module")
async def redis(servers: Platform) -> Any:
    host, port = servers.environment["REDIS_ADDR"].split(":")
    async with Redis(host=host, port=int(port), protocol=2) as redis:
        yield redis


async def test_what_was_put_is_found_and_leaves_by_itself(cache: Cache, redis: Redis) -> None:
    name, other = key(), key()
    await fill(cache, {name: (1, Thing("a")), other: (1, Thing("b"))})
    assert await cache.get_many([name, other, key()], Thing) == {
        name: Thing("a"),
        other: Thing("b"),
    }
    assert 270_000 - 1000 <= await redis.pttl(name) <= 330_000


async def test_an_older_fill_never_replaces_a_newer_value(cache: Cache) -> None:
    name = key()
    await fill(cache, {name: (10, Thing("new"))})
    await fill(cache, {name: (9, Thing("old"))})
    assert await got(cache, name) == Thing("new")


async def test_a_floor_hides_what_is_older_and_lets_in_what_is_not(cache: Cache) -> None:
    name = key()
    await fill(cache, {name: (1, Thing("old"))})
    await cache.forget({name: 2})
    assert await got(cache, name) is None
    await fill(cache, {name: (1, Thing("old"))})
    assert await got(cache, name) is None
    await fill(cache, {name: (2, Thing("new"))})
    assert await got(cache, name) == Thing("new")
    await cache.forget({name: 2})
    assert await got(cache, name) == Thing("new"), "the floor is where it was"


async def test_racing_readers_never_bring_an_old_value_back(cache: Cache) -> None:
    name, truth, seen = key(), 0, []

    async def read() -> None:
        for _ in range(60):
            floor = truth
            found = await got(cache, name)
            if found is None:
                loaded = Thing("t", truth)
                await asyncio.sleep(random.random() * 0.002)
                await cache.put_many({name: (loaded.size, loaded)})
            else:
                seen.append(found.size >= floor - 1)  # a change is committed before it is forgotten

    async def change() -> None:
        nonlocal truth
        for _ in range(40):
            truth += 1
            await cache.forget({name: truth})
            await asyncio.sleep(random.random() * 0.002)

    await asyncio.gather(change(), *(read() for _ in range(5)))
    assert all(seen)
    found = await got(cache, name)
    assert found is None or found.size == truth


async def test_what_was_loaded_before_redis_was_emptied_is_stored_no_more(
    cache: Cache, redis: Redis
) -> None:
    name = key()
    assert await got(cache, name) is None  # a reader, who loads version 1
    await cache.forget({name: 2})  # meanwhile it is changed
    await redis.delete(name)  # and Redis loses what it was told
    await cache.put_many({name: (1, Thing("old"))})
    assert await got(cache, name) is None
    await fill(cache, {name: (2, Thing("new"))})
    assert await got(cache, name) == Thing("new")


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"1", b"1 ", b"1 other {}", b"{}", b"1 KEY", b"1 KEY not json", b"1 KEY []"]
)
async def test_what_is_not_ours_is_a_miss(cache: Cache, redis: Redis, raw: bytes) -> None:
    name = key()
    await redis.set(name, raw.replace(b"KEY", name.encode()))
    assert await got(cache, name) is None
    await fill(cache, {name: (10, Thing("a"))})
    assert await got(cache, name) == Thing("a")


async def test_another_keys_value_is_a_miss(cache: Cache, redis: Redis) -> None:
    mine, yours = key(), key()
    await fill(cache, {yours: (1, Thing("yours"))})
    await redis.set(mine, await redis.get(yours) or b"")
    assert await got(cache, mine) is None


async def test_a_redis_that_is_away_costs_a_moment_once_and_nothing_after() -> None:
    async with Cache.open(f"127.0.0.1:{CLOSED}") as cache:
        started = time.perf_counter()
        assert await got(cache, "a") is None
        assert time.perf_counter() - started < 0.05
        started = time.perf_counter()
        for _ in range(1000):
            assert await got(cache, "a") is None
            await cache.put_many({"a": (1, Thing("a"))})
            await cache.forget({"a": 1})
        assert time.perf_counter() - started < 0.2


async def test_a_redis_that_hangs_holds_up_one_call_and_no_other(servers: Platform) -> None:
    async with Cache.open(servers.environment["REDIS_ADDR"]) as cache:
        name = key()
        await fill(cache, {name: (1, Thing("a"))})
        servers.kill("redis", signal.SIGSTOP)
        try:
            started = time.perf_counter()
            await asyncio.gather(*(got(cache, name) for _ in range(20)))
            assert time.perf_counter() - started < 3 * TIMEOUT_S
            await asyncio.sleep(REST_S)
            started = time.perf_counter()
            first = asyncio.ensure_future(got(cache, name))  # it tries, the others do without
            await asyncio.sleep(0.01)
            await asyncio.gather(*(got(cache, name) for _ in range(200)))
            assert time.perf_counter() - started < TIMEOUT_S
            await first
        finally:
            servers.kill("redis", signal.SIGCONT)


async def test_a_floor_that_redis_missed_is_told_before_it_is_read_again(servers: Platform) -> None:
    async with Cache.open(servers.environment["REDIS_ADDR"]) as cache:
        names = [key() for _ in range(1200)]
        await fill(cache, {name: (1, Thing("old")) for name in names})
        servers.kill("redis", signal.SIGSTOP)
        try:
            for name in names:
                await cache.forget({name: 2})
        finally:
            servers.kill("redis", signal.SIGCONT)
        await asyncio.sleep(REST_S)
        assert await cache.get_many(names, Thing) == {}
        await fill(cache, {names[0]: (2, Thing("new"))})
        assert await cache.get_many(names, Thing) == {names[0]: Thing("new")}


async def test_connections_that_are_reset_in_mid_call_are_a_redis_that_is_away(
    servers: Platform,
) -> None:
    """As the services meet it: on uvloop, which has an error of its own for it."""
    port = int(servers.environment["REDIS_ADDR"].rpartition(":")[2])

    async def reset_again_and_again() -> int:
        proxy = Proxy("redis", port)
        await proxy.open()
        for _ in range(60):
            async with Cache.open(f"127.0.0.1:{proxy.port}") as cache:
                await cache.forget({key(): 1})
                before = proxy.links_cut
                asyncio.get_running_loop().call_later(random.uniform(0.001, 0.004), proxy.cut)
                while proxy.links_cut == before:
                    await asyncio.gather(*(cache.forget({key(): 1}) for _ in range(3)))
        cut = proxy.links_cut
        proxy.close()
        return cut

    def on_uvloop() -> int:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(reset_again_and_again())

    assert await asyncio.to_thread(on_uvloop) >= 60


def test_a_memory_is_bounded_and_forgets_in_time() -> None:
    memory: Memory[int, str] = Memory(size_max=3, ttl_s=60)
    for i in range(5):
        memory.put(i, str(i))
    assert [memory.get(i) for i in range(5)] == [None, None, "2", "3", "4"]
    memory.put(2, "two", ttl_s=-1)
    assert memory.get(2) is None
    memory.forget(3)
    assert memory.get(3) is None
    memory.clear()
    assert memory.get(4) is None

"""Limits: exact with Redis and without it, whatever of it fails, and never a way around them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.embedded.supervisor import Platform
from mercato.kernel import clock
from mercato.kernel.identity import new_id
from mercato.platform.limits import Bucket, Local, Quota, Verdict
from mercato.platform.limits.shared import Limiter
from mercato.storm.proxy import Proxy

SLOW = Quota(2, 3600, 2)


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def time(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def bucket(quota: Quota = SLOW) -> Bucket:
    return Bucket(f"limit:{new_id()}", quota)


def admitted(verdicts: list[Verdict]) -> bool:
    return all(each.admitted for each in verdicts)


@pytest.mark.parametrize(
    ("text", "quota"),
    [("10/60s", Quota(10, 60, 10)), ("1/1s burst 20", Quota(1, 1, 20))],
)
def test_a_quota_is_read_as_it_is_written(text: str, quota: Quota) -> None:
    assert Quota.of(text) == quota


@pytest.mark.parametrize("text", ["", "10", "10/60", "0/60s", "10/0s", "10/60s burst 0", "-1/1s"])
def test_anything_else_is_no_quota(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        Quota.of(text)


@given(
    st.integers(1, 50), st.integers(1, 60), st.integers(1, 30),
    st.lists(st.floats(0, 5), max_size=60),
)  # fmt: skip
def test_a_leaky_bucket_says_the_same(
    count: int, period_s: int, burst: int, pauses: list[float]
) -> None:
    quota, hands, local, key = Quota(count, period_s, burst), Hands(), Local(), new_id()
    level, rate = 0.0, count / period_s
    with clock.driven_by(hands):
        for pause_s in pauses:
            hands.at += pause_s
            level = max(0.0, level - pause_s * rate)
            said = admitted(local.spend([Bucket(key, quota)]))
            if abs(burst - level - 1) > 1e-3:  # at the very edge either is right
                assert said == (level + 1 < burst)
            level += said


def test_a_bucket_without_room_spends_nothing_of_the_others() -> None:
    local, narrow, wide = Local(), bucket(Quota(1, 3600, 1)), bucket(Quota(9, 3600, 9))
    assert admitted(local.spend([narrow, wide]))
    first, second = local.spend([narrow, wide])
    assert not first.admitted
    assert (second.admitted, second.remaining) == (True, 8)
    assert 3599 < first.retry_s <= 3600
    assert local.spend([wide], take=False)[0].remaining == 8


def test_memory_is_bounded_and_the_busy_are_remembered() -> None:
    local, busy = Local(buckets_max=100), bucket()
    for _ in range(1000):
        local.spend([busy], take=True)
        local.spend([bucket()])
    assert not admitted(local.spend([busy]))
    assert len(local._empty_us) == 100


@pytest.fixture(scope="module")
async def limiter(servers: Platform) -> AsyncIterator[Limiter]:
    async with Limiter.open(servers.environment["REDIS_ADDR"]) as limiter:
        yield limiter


async def test_two_processes_count_together(servers: Platform, limiter: Limiter) -> None:
    one = bucket(Quota(10, 3600, 10))
    async with Limiter.open(servers.environment["REDIS_ADDR"]) as other:
        said = await asyncio.gather(*(each.spend([one]) for each in [limiter, other] * 20))
    assert sum(map(admitted, said)) == 10
    (last,) = await limiter.spend([one])
    assert (last.admitted, last.remaining) == (False, 0)
    assert 350 < last.retry_s <= 360
    assert 3590 < last.reset_s <= 3600


async def test_what_is_known_to_be_full_is_refused_without_a_question(limiter: Limiter) -> None:
    narrow, wide = bucket(Quota(1, 3600, 1)), bucket(Quota(9, 3600, 9))
    assert limiter.refused([narrow, wide]) is None
    assert admitted(await limiter.spend([narrow, wide]))
    known, asked = limiter.refused([narrow, wide]), await limiter.spend([narrow, wide])
    assert known is not None
    assert [each.admitted for each in known] == [each.admitted for each in asked] == [False, True]
    assert [each.remaining for each in known] == [each.remaining for each in asked] == [0, 8]
    assert abs(known[0].retry_s - asked[0].retry_s) < 1


async def test_all_buckets_are_taken_from_or_none_in_redis_too(limiter: Limiter) -> None:
    narrow, wide = bucket(Quota(1, 3600, 1)), bucket(Quota(9, 3600, 9))
    assert admitted(await limiter.spend([narrow, wide]))
    assert [v.admitted for v in await limiter.spend([narrow, wide])] == [False, True]
    assert (await limiter.spend([wide], take=False))[0].remaining == 8
    assert (await limiter.spend([wide], take=False))[0].remaining == 8


async def test_what_was_taken_can_be_given_back(limiter: Limiter) -> None:
    one, local = bucket(), Local()
    for _ in range(5):
        assert admitted(await limiter.spend([one]))
        assert admitted(await limiter.spend([one], -1))
        assert admitted(local.spend([one]))
        assert admitted(local.spend([one], -1))
    assert (await limiter.spend([one], take=False))[0].remaining == 2
    assert local.spend([one], take=False)[0].remaining == 2


async def test_units_come_back_with_time(limiter: Limiter) -> None:
    one = bucket(Quota(20, 1, 1))
    began, count = time.monotonic(), 0
    while (past_s := time.monotonic() - began) < 1:
        count += admitted(await limiter.spend([one]))
        await asyncio.sleep(0.003)
    assert 15 <= count <= 1 + past_s * 20


async def test_without_redis_a_process_keeps_to_the_same_figures() -> None:
    async with Limiter.open("127.0.0.1:1") as alone:
        one = bucket(Quota(10, 3600, 10))
        said = [admitted(await alone.spend([one])) for _ in range(30)]
    assert sum(said) == 10


async def test_what_was_let_through_without_redis_is_told_to_it(
    servers: Platform, limiter: Limiter
) -> None:
    proxy = Proxy("redis", int(servers.environment["REDIS_ADDR"].rpartition(":")[2]))
    await proxy.open()
    one, other = bucket(Quota(10, 3600, 10)), bucket()
    try:
        async with Limiter.open(f"127.0.0.1:{proxy.port}") as cut:
            upstream, proxy.upstream = proxy.upstream, 1
            proxy.cut()
            for _ in range(3):
                await cut.spend([other])  # from now on it is left alone
            assert sum([admitted(await cut.spend([one])) for _ in range(20)]) == 10
            proxy.upstream = upstream
            await asyncio.sleep(1.1)
            assert not admitted(await cut.spend([one]))
        assert not admitted(await limiter.spend([one]))
    finally:
        proxy.close()


class Leaky(Proxy):
    """Swallows one reply in ten, each with its connection; each answers many questions."""

    def drops(self, data: bytes) -> bool:
        if random.random() >= 0.1:
            return False
        self.replies_dropped += 1
        return True


async def test_lost_replies_neither_open_the_limit_nor_close_it(servers: Platform) -> None:
    proxy = Leaky("redis", int(servers.environment["REDIS_ADDR"].rpartition(":")[2]))
    await proxy.open()
    one, count, seconds = bucket(Quota(10, 1, 20)), 0, 2.0
    try:
        async with Limiter.open(f"127.0.0.1:{proxy.port}") as limiter:
            began = time.monotonic()

            async def ask() -> None:
                nonlocal count
                while time.monotonic() - began < seconds:
                    yes = admitted(await limiter.spend([one]))
                    count += yes
                    await asyncio.sleep(0.01)

            await asyncio.gather(*(ask() for _ in range(50)))
    finally:
        proxy.close()
    assert proxy.replies_dropped > 2
    assert 37 <= count <= 40

"""Buckets in Redis, by its clock: all that are asked for at one moment in one round trip.

Nobody waits long for Redis, and nothing is let through because it is away: every answer is noted
in this process's own buckets, and they decide when there is none. One question is under way at a
time, so they are as Redis was when it was asked: if its answer is lost they say what it said. What
is let through while Redis is not asked at all is owed, and told first when it is asked again.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from prometheus_client import Counter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from mercato.platform.fold import Fold
from mercato.platform.limits.local import Local
from mercato.platform.limits.quota import Bucket, Verdict

TIMEOUT_S: Final = 0.2
REST_S: Final = 1.0  # how long a Redis that fails again and again is left alone
FAILURES_MAX: Final = 3
AT_ONCE_MAX: Final = 128
OWED_MAX: Final = 50_000

WITHOUT_REDIS = Counter("mercato_limits_local_total", "Limits decided without Redis.")

# KEYS: buckets. ARGV: units, whether to take them; each bucket's unit in us, burst, units owed.
# Kept in a key: when its bucket is empty, in microseconds. Returned: yes or no, and all backlogs.
_SPEND: Final = """
local t = redis.call('TIME')
local now, cost, yes, at = t[1] * 1000000 + t[2], tonumber(ARGV[1]), 1, {}
for i, key in ipairs(KEYS) do
  local unit = tonumber(ARGV[3 * i])
  at[i] = math.max(now, tonumber(redis.call('GET', key) or 0)) + ARGV[3 * i + 2] * unit
  if at[i] - now + cost * unit > ARGV[3 * i + 1] * unit then yes = 0 end
end
local taken = yes * cost * ARGV[2]
for i, key in ipairs(KEYS) do
  at[i] = at[i] + taken * ARGV[3 * i]
  if taken ~= 0 or tonumber(ARGV[3 * i + 2]) > 0 then
    at[i] = math.max(at[i], now + 1)
    redis.call('SET', key, string.format('%.0f', at[i]), 'PX', math.ceil((at[i] - now) / 1000))
  end
  at[i] = at[i] - now
end
return {yes, unpack(at)}
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Wish:
    buckets: Sequence[Bucket]
    cost: int
    take: bool


class Limiter:
    """Counts together with every other process that has the same Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._local = Local()
        self._owed: dict[str, int] = {}
        self._failures = 0
        self._rest_until = 0.0
        self._decide: Fold[_Wish, list[Verdict]] = Fold(self._decided, size_max=AT_ONCE_MAX)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, address: str, *, password: str = "", database: int = 0
    ) -> AsyncIterator["Limiter"]:
        """Opens the limiter at `address` (`host:port`); connects at its first use."""
        host, _, port = address.rpartition(":")
        pool = BlockingConnectionPool(
            host=host or "127.0.0.1", port=int(port), password=password or None, db=database,
            max_connections=1, timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=2,
        )  # fmt: skip
        redis = Redis(connection_pool=pool)
        try:
            yield cls(redis)
        finally:
            await redis.aclose()
            await pool.disconnect()

    async def spend(
        self, buckets: Sequence[Bucket], cost: int = 1, *, take: bool = True
    ) -> list[Verdict]:
        """Takes `cost` units from each bucket, or from none where one of them has no room.

        Returns what each bucket says; without `take` it is only asked. Less than 0 gives back.
        """
        return await self._decide(_Wish(buckets, cost, take))

    def refused(self, buckets: Sequence[Bucket]) -> list[Verdict] | None:
        """Returns what the buckets say, if one of them is known to have no room; asks nobody.

        It is for buckets that nobody gives back to: what others take of them only fills them
        more, so that they have room when time has drained what is known here, and not before.
        """
        known = self._local.spend(buckets, take=False)
        return None if all(each.admitted for each in known) else known

    async def _decided(self, wishes: list[_Wish]) -> list[list[Verdict]]:
        if self._resting():
            return [self._alone(wish) for wish in wishes]
        owed = [[self._owed.pop(each.key, 0) for each in wish.buckets] for wish in wishes]
        asked = False
        try:
            async with self._redis.pipeline(transaction=False) as calls:
                # Taken here, so that we know of a question whether it was ever sent.
                pool = self._redis.connection_pool
                calls.connection = await pool.get_connection()  # type: ignore[no-untyped-call]
                asked = True
                for wish, units in zip(wishes, owed, strict=True):
                    keys = [each.key for each in wish.buckets]
                    calls.eval(_SPEND, len(keys), *keys, *_arguments(wish, units))
                answers: list[Any] = await calls.execute()
        except (RedisError, OSError, TimeoutError, RuntimeError) as failure:
            # RuntimeError is what uvloop says of a connection that was reset in this moment
            self._failed(failure)
            if asked:  # most likely it was heard, with what was owed, and the answer was lost
                return [self._in_doubt(wish) for wish in wishes]
            for wish, units in zip(wishes, owed, strict=True):
                self._owe(wish, units)
            return [self._alone(wish) for wish in wishes]
        self._failures, self._rest_until = 0, 0.0
        return [self._told(wish, told) for wish, told in zip(wishes, answers, strict=True)]

    def _told(self, wish: _Wish, answer: Sequence[int]) -> list[Verdict]:
        yes, *backlogs = answer
        for bucket, backlog_us in zip(wish.buckets, backlogs, strict=True):
            self._local.note(bucket, backlog_us)
        cost = 0 if yes else wish.cost
        return [
            bucket.quota.verdict(backlog_us, cost)
            for bucket, backlog_us in zip(wish.buckets, backlogs, strict=True)
        ]

    def _alone(self, wish: _Wish) -> list[Verdict]:
        """Decides what Redis was not asked, and remembers to tell it."""
        WITHOUT_REDIS.inc()
        found = self._local.spend(wish.buckets, wish.cost, take=wish.take)
        if wish.take and all(each.admitted for each in found):
            self._owe(wish, [wish.cost] * len(wish.buckets))
        return found

    def _in_doubt(self, wish: _Wish) -> list[Verdict]:
        """Decides where Redis may have taken the units already."""
        WITHOUT_REDIS.inc()
        return self._local.spend(wish.buckets, wish.cost, take=wish.take)

    def _owe(self, wish: _Wish, units: Sequence[int]) -> None:
        for bucket, count in zip(wish.buckets, units, strict=True):
            if count and (bucket.key in self._owed or len(self._owed) < OWED_MAX):
                self._owed[bucket.key] = self._owed.get(bucket.key, 0) + count

    def _resting(self) -> bool:
        now = time.monotonic()
        if now < self._rest_until:
            return True
        if self._rest_until:  # one run tries; the others do without until Redis is back
            self._rest_until = now + REST_S
        return False

    def _failed(self, failure: Exception) -> None:
        self._failures += 1
        if self._failures >= FAILURES_MAX:
            self._rest_until = time.monotonic() + REST_S
        log.warning("limits without redis", failure=type(failure).__name__)


def _arguments(wish: _Wish, owed: Sequence[int]) -> list[int]:
    found = [wish.cost, int(wish.take)]
    for bucket, units in zip(wish.buckets, owed, strict=True):
        found += (bucket.quota.unit_us, bucket.quota.burst, units)
    return found

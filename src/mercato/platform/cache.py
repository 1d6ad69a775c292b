"""Redis as a cache that never lies for long and is never needed.

A value is kept as `<version> <key> <json>`. It is only ever replaced by the same or a newer
version; a change that was committed leaves a floor (`<version> <key> ` and no value), so that a
reader that loaded the older one cannot put it back. The key inside guards against a connection
whose answers have shifted. When Redis is away nobody waits for it: after a failure it is left
alone for a moment, and what it must not show any more is told first when it is back.
"""

import itertools
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

REST_S: Final = 1.0  # how long a Redis that failed is left alone
TIMEOUT_S: Final = 0.2
CONNECTIONS_MAX: Final = 50
OWED_MAX: Final = 50_000
OWED_AT_ONCE: Final = 500
ASKED_S: Final = 10  # how long a reader who found nothing may take to bring it

# KEYS: keys; ARGV: ttl in ms, then version and value per key.
_PUT: Final = """
for i, key in ipairs(KEYS) do
  local now = redis.call('GET', key)
  local there = now and tonumber(string.match(now, '^%d+')) or -1
  local version, value = ARGV[2 * i], ARGV[2 * i + 1]
  if not now and value ~= '' then
    -- nobody has asked for it since Redis was emptied: it may have been loaded before that
  elseif there < tonumber(version) or (there == tonumber(version) and value ~= '') then
    redis.call('SET', key, version .. ' ' .. key .. ' ' .. value, 'PX', ARGV[1])
  end
end
"""

T = TypeVar("T")
log = structlog.get_logger()


class Cache:
    """Versioned values by key, as JSON, for about `ttl_s` seconds."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._put = redis.register_script(_PUT)
        self._rest_until = 0.0
        self._owed: dict[str, int] = {}  # floors that Redis must have before it is read again

    @classmethod
    @asynccontextmanager
    async def open(
        cls, address: str, *, password: str = "", database: int = 0, ttl_s: int = 300
    ) -> AsyncIterator["Cache"]:
        """Opens the cache at `address` (`host:port`); connects at its first use."""
        host, _, port = address.rpartition(":")
        pool = BlockingConnectionPool(
            host=host or "127.0.0.1", port=int(port), password=password or None, db=database,
            max_connections=CONNECTIONS_MAX, timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=2,
        )  # fmt: skip
        redis = Redis(connection_pool=pool)
        try:
            yield cls(redis, ttl_s)
        finally:
            await redis.aclose()
            await pool.disconnect()

    async def get_many(self, keys: Sequence[str], shape: type[T]) -> dict[str, T]:
        """Returns what is known of `keys`; nothing when Redis is away."""
        raw: Sequence[bytes | str | None] = ()
        if keys and not self._resting():
            with self._reaching():
                await self._pay()
                raw = await self._redis.mget(keys)
                await self._ask([key for key, data in zip(keys, raw, strict=True) if data is None])
        found = ((key, _read(key, data, shape)) for key, data in zip(keys, raw, strict=False))
        return {key: value for key, value in found if value is not None}

    async def put_many(self, values: Mapping[str, tuple[int, object]]) -> None:
        """Stores `key -> (version, value)`, each unless a newer version is there.

        Only what `get_many` did not find is stored, and within ASKED_S.
        """
        if values and not self._resting():
            encoded = {k: (v, msgspec.json.encode(value)) for k, (v, value) in values.items()}
            with self._reaching():
                await self._store(encoded)

    async def forget(self, versions: Mapping[str, int]) -> None:
        """Lets nothing older than `key -> version` be read or stored any more.

        While Redis is away this is owed, and done before it is read again.
        """
        if not versions:
            return
        if not self._resting():
            with self._reaching():
                await self._store({key: (version, b"") for key, version in versions.items()})
                return
        self._owe(versions)

    async def _ask(self, keys: Sequence[str]) -> None:
        """Leaves a floor below every version where there is nothing."""
        if keys:
            async with self._redis.pipeline(transaction=False) as calls:
                for key in keys:
                    calls.set(key, f"0 {key} ", nx=True, ex=ASKED_S)
                await calls.execute()

    def _owe(self, versions: Mapping[str, int]) -> None:
        # When there is too much, the first ones stay: they are of what was cached before.
        for key, version in versions.items():
            if key in self._owed or len(self._owed) < OWED_MAX:
                self._owed[key] = max(version, self._owed.get(key, 0))

    async def _pay(self) -> None:
        while self._owed:
            some = dict(itertools.islice(self._owed.items(), OWED_AT_ONCE))
            await self._store({key: (version, b"") for key, version in some.items()})
            self._owed = {k: v for k, v in self._owed.items() if v != some.get(k)}

    async def _store(self, values: Mapping[str, tuple[int, bytes]]) -> None:
        ttl_ms = int(self._ttl_s * 1000 * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
        arguments: list[int | bytes] = [ttl_ms]
        for version, value in values.values():
            arguments += (version, value)
        await self._put(keys=list(values), args=arguments)

    def _resting(self) -> bool:
        now = time.monotonic()
        if now < self._rest_until:
            return True
        if self._rest_until:  # after a rest one call tries; the others do without until it is back
            self._rest_until = now + REST_S
        return False

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError, RuntimeError) as failure:
            # RuntimeError is what uvloop says of a connection that was reset in this moment
            self._rest_until = time.monotonic() + REST_S
            log.warning("cache is away", failure=type(failure).__name__)
        else:
            self._rest_until = 0.0


def _read(key: str, data: bytes | str | None, shape: type[T]) -> T | None:
    if not isinstance(data, bytes):
        return None
    _, _, rest = data.partition(b" ")
    name, _, value = rest.partition(b" ")
    if name != key.encode() or not value:
        return None
    try:
        return msgspec.json.decode(value, type=shape)
    except msgspec.DecodeError:
        return None  # written by another release, whose shape was another one

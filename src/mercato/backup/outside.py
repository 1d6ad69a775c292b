"""What lies outside the database and would know its future after a restore: cache and stream."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError, ServerError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from mercato import events
from mercato.backup.manifest import BackupError
from mercato.platform.bus import Bus

KEYS: Final = ("product:*", "order:*", "user:*")
AT_ONCE: Final = 500
TIMEOUT_S: Final = 5.0
STEP_TRIES: Final = 10
STEP_PAUSE_S: Final = 0.2


async def clear_cache(address: str, *, password: str, database: int) -> int:
    """Deletes what the services keep in Redis, and nothing else; returns how many keys.

    Their entries carry versions, and an older version never replaces a newer one. Raises
    BackupError when Redis does not do it.
    """
    host, _, port = address.rpartition(":")
    redis = Redis(
        host=host or "127.0.0.1", port=int(port), password=password or None, db=database,
        socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, protocol=2,
        retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
    cleared = 0
    try:
        for pattern in KEYS:
            keys: list[bytes] = []
            async for key in redis.scan_iter(match=pattern, count=AT_ONCE):
                keys.append(key)
                if len(keys) == AT_ONCE:
                    cleared += await redis.unlink(*keys)
                    keys.clear()
            cleared += await redis.unlink(*keys) if keys else 0
    except (RedisError, OSError, TimeoutError) as failure:
        raise BackupError(
            f"Redis at {address} fails ({type(failure).__name__}), and may know newer versions "
            "than the backup",
            "start it and restore again",
        ) from None
    finally:
        await redis.aclose()
    return cleared


async def empty_stream(bus: Bus) -> int:
    """Deletes every message of the event stream, and what it remembers of their ids.

    They tell of a time that has not been. What the restored database has to tell is in its
    outboxes and is told again, under ids that the stream must not take for known ones: it is made
    anew, as it was, with its durable consumers. Returns how many messages there were; raises
    BackupError.
    """
    stream = bus.stream
    try:
        try:
            before = await stream.stream_info(events.STREAM)
        except NotFoundError:
            return 0
        consumers = [each.config for each in await stream.consumers_info(events.STREAM)]
        with suppress(NotFoundError):
            await _insist(lambda: stream.delete_stream(events.STREAM))
        await _insist(lambda: stream.add_stream(before.config))
        for consumer in consumers:
            if consumer.durable_name:
                await _insist(partial(stream.add_consumer, events.STREAM, consumer))
    except (NatsError, OSError, TimeoutError) as failure:
        raise BackupError(f"the stream cannot be emptied: {failure}", "see to NATS") from None
    return before.state.messages


async def _insist(step: Callable[[], Awaitable[object]]) -> None:
    """Takes the step, and again when it fails: what a half-made stream forgets is nowhere else.

    The files of a stream may outlast its deletion for a moment, and one of the same name is then
    refused with 500, "error creating store for stream", about once in a thousand times.
    """
    for _ in range(STEP_TRIES - 1):
        try:
            await step()
        except (ServerError, TimeoutError):
            await asyncio.sleep(STEP_PAUSE_S)
        else:
            return
    await step()

"""What lies outside the database and would know its future after a restore: cache and stream."""

from typing import Final

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
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
    try:
        before = await bus.stream.stream_info(events.STREAM)
        consumers = [each.config for each in await bus.stream.consumers_info(events.STREAM)]
        await bus.stream.delete_stream(events.STREAM)
        await bus.stream.add_stream(before.config)
        for consumer in consumers:
            if consumer.durable_name:
                await bus.stream.add_consumer(events.STREAM, consumer)
    except NotFoundError:
        return 0
    except (NatsError, OSError, TimeoutError) as failure:
        raise BackupError(f"the stream cannot be emptied: {failure!r}", "see to NATS") from None
    return before.state.messages

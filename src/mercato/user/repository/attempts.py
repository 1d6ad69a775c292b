"""What is remembered of guesses at logins: failures in Redis, familiar networks in MongoDB."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from pymongo import IndexModel

from mercato.kernel import clock
from mercato.platform.fold import Fold
from mercato.platform.limits import Bucket, Quota
from mercato.platform.limits.shared import Limiter
from mercato.platform.mongo import Shape, Store

DEVICES: Final = "known_devices"
REMEMBERED: Final = timedelta(days=180)
PAUSE_S: Final = 0.025  # between two looks, in which a flood of logins comes together

_FIELDS: Final = {
    "_id": {"bsonType": "string", "pattern": "^[0-9a-f]{32}$"},
    "at": {"bsonType": "date"},
}
SHAPES: Final = {
    DEVICES: Shape(
        schema={
            "bsonType": "object", "required": list(_FIELDS), "properties": _FIELDS,
            "additionalProperties": False,
        },
        indexes=(
            IndexModel([("at", 1)], name="old", expireAfterSeconds=int(REMEMBERED.total_seconds())),
        ),
    ),
}  # fmt: skip


class RedisFailures:
    """Buckets that all copies of the service share; one of its own while Redis is away."""

    def __init__(self, limiter: Limiter, quota: Quota) -> None:
        self._limiter = limiter
        self._quota = quota

    async def take(self, key: str) -> float:
        (verdict,) = await self._limiter.spend([self._bucket(key)])
        return verdict.retry_s

    async def give_back(self, key: str) -> None:
        await self._limiter.spend([self._bucket(key)], -1)

    def _bucket(self, key: str) -> Bucket:
        return Bucket(f"attempts:{key}", self._quota)


class MongoDevices:
    """The collection `known_devices`: hashes, and when each was last seen."""

    def __init__(self, store: Store) -> None:
        self._devices = store[DEVICES]
        self._known: Fold[str, bool] = Fold(self._known_of)
        self._looked_at = -PAUSE_S

    async def known(self, key: str) -> bool:
        return await self._known(key)

    async def remember(self, key: str) -> None:
        await self._devices.update_one({"_id": key}, {"$set": {"at": clock.now()}}, upsert=True)

    async def _known_of(self, keys: Sequence[str]) -> list[bool]:
        await asyncio.sleep(self._looked_at + PAUSE_S - clock.monotonic())
        self._looked_at = clock.monotonic()
        found = {row["_id"] async for row in self._devices.find({"_id": {"$in": list(keys)}})}
        return [key in found for key in keys]

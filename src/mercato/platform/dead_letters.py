"""Events that nobody can understand: kept for people, with the reason, never looped.

A person may have one told again (`replayed`); one that comes back is dead again, and counted.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pymongo import IndexModel

from mercato.kernel.clock import now
from mercato.platform.bus import Delivery
from mercato.platform.mongo import Collection, Document, Shape

TEXT_MAX: Final = 2000

SHAPE: Final = Shape(indexes=(IndexModel([("at", -1)], name="newest"),))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that `consumer` gave up `times` times, last `at`; `id` is 64 hex digits."""

    id: str
    consumer: str
    subject: str
    payload: bytes
    headers: dict[str, str]
    text: str
    reason: str
    times: int
    at: datetime


class DeadLetters:
    """The collection `dead_letters`; `consumer` is who keeps some, all consumers' are found."""

    def __init__(self, letters: Collection, consumer: str) -> None:
        self._letters = letters
        self._consumer = consumer

    async def keep(self, delivery: Delivery, reason: str) -> None:
        """Keeps the delivery whole (its payload as base64); the same one twice is counted."""
        told = (self._consumer, delivery.subject)
        name = hashlib.sha256("\n".join(told).encode() + b"\n" + delivery.payload).hexdigest()
        about = {
            "consumer": self._consumer,
            "subject": delivery.subject,
            "payload": base64.b64encode(delivery.payload).decode(),
            "text": delivery.payload[:TEXT_MAX].decode(errors="replace"),
            "headers": delivery.headers,
        }
        present = {"reason": reason, "state": "dead", "at": now()}
        change = {"$setOnInsert": about, "$set": present, "$inc": {"times": 1}}
        await self._letters.update_one({"_id": name}, change, upsert=True)

    async def newest(self, count_max: int) -> list[DeadLetter]:
        """Returns those that are dead now."""
        found = self._letters.find({"state": "dead"}).sort("at", -1).limit(count_max)
        return [_letter(document) async for document in found]

    async def ids(self, beginning: str = "") -> list[str]:
        """Returns the ids, of those that are dead now, that begin so; the oldest first."""
        query = {"_id": {"$regex": f"^{re.escape(beginning)}"}, "state": "dead"}
        return [each["_id"] async for each in self._letters.find(query, {"_id": 1}).sort("at", 1)]

    async def get(self, name: str) -> DeadLetter | None:
        """Returns the one with this id, if it is dead now."""
        found = await self._letters.find_one({"_id": name, "state": "dead"})
        return _letter(found) if found else None

    async def replayed(self, letter: DeadLetter) -> bool:
        """Marks one that was told again; False if it has come back dead meanwhile."""
        still = {"_id": letter.id, "times": letter.times}
        change = {"$set": {"state": "replayed", "replayed_at": now()}}
        return (await self._letters.update_one(still, change)).modified_count == 1


def _letter(document: Document) -> DeadLetter:
    same = ("consumer", "subject", "headers", "text", "reason", "times", "at")
    payload = base64.b64decode(document["payload"])
    return DeadLetter(id=document["_id"], payload=payload, **{n: document[n] for n in same})

"""Events that nobody can understand: kept for people, with the reason, never looped."""

import base64
import hashlib
from typing import Final

from pymongo import IndexModel

from mercato.kernel.clock import now
from mercato.platform.bus import Delivery
from mercato.platform.mongo import Collection, Shape

TEXT_MAX: Final = 2000

SHAPE: Final = Shape(indexes=(IndexModel([("at", -1)], name="newest"),))


class DeadLetters:
    """The collection `dead_letters`."""

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
            "reason": reason,
            "state": "dead",
        }
        change = {"$setOnInsert": about, "$set": {"at": now()}, "$inc": {"times": 1}}
        await self._letters.update_one({"_id": name}, change, upsert=True)

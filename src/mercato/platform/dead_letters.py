"""Events that nobody can understand: kept for people, with the reason, never looped."""

import base64
from datetime import UTC, datetime

from pymongo import IndexModel

from mercato.platform.bus import Delivery
from mercato.platform.mongo import Collection, Shape

SHAPE = Shape(indexes=(IndexModel([("at", -1)], name="newest"),))


class DeadLetters:
    """The collection `dead_letters`."""

    def __init__(self, letters: Collection, consumer: str) -> None:
        self._letters = letters
        self._consumer = consumer

    async def keep(self, delivery: Delivery, reason: str) -> None:
        """Keeps the delivery whole: a payload that is no text is kept as base64."""
        await self._letters.insert_one(
            {
                "consumer": self._consumer,
                "subject": delivery.subject,
                "payload": base64.b64encode(delivery.payload).decode(),
                "text": delivery.payload[:2000].decode(errors="replace"),
                "headers": delivery.headers,
                "reason": reason,
                "at": datetime.now(UTC),
            }
        )

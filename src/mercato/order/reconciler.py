"""The last resort for an order that the bus never answers: inventory is asked directly.

The outbox tells an order again every few seconds until it is answered, which mends every loss of
messages. After ten minutes without an answer something else is wrong, and this loop goes round
the bus.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import grpc
import structlog
from pymongo.errors import PyMongoError

from mercato.events import OrderCreated, OrderFact, StockRejected, StockReleased, StockReserved
from mercato.kernel.clock import now
from mercato.kernel.errors import AppError
from mercato.order.usecase import Ordering
from mercato.pb import inventory_pb2
from mercato.pb.inventory_pb2_grpc import InventoryServiceStub
from mercato.platform.outbox import Outbox
from mercato.platform.rpc import Channels
from mercato.platform.rpc.refusals import Refused

EVERY_S: Final = 30.0
OVERDUE: Final = timedelta(minutes=10)
BATCH_MAX: Final = 100

log = structlog.get_logger()


class Reconciler:
    """Asks inventory about orders whose `order.created` has been open for too long."""

    def __init__(
        self,
        outbox: Outbox,
        ordering: Ordering,
        inventory: InventoryServiceStub,
        channels: Channels,
        *,
        overdue: timedelta = OVERDUE,
    ) -> None:
        self._outbox = outbox
        self._ordering = ordering
        self._inventory = inventory
        self._channels = channels
        self._overdue = overdue

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.ask_overdue()
            except (PyMongoError, AppError) as failure:
                log.warning("reconciler waits", failure=type(failure).__name__)

    async def ask_overdue(self) -> int:
        """Asks about at most BATCH_MAX orders; returns how many were answered."""
        query = {
            "kind": "nats",
            "not_before": {"$exists": True},
            "subject": OrderCreated.subject,
            "created_at": {"$lt": now() - self._overdue},
        }
        rows = await self._outbox.rows.find(query, {"about": 1}).limit(BATCH_MAX).to_list()
        answers = [await self._ask(row["about"]) for row in rows]
        for answer in answers:
            if answer is not None:
                await self._ordering.heard(answer)
        return sum(answer is not None for answer in answers)

    async def _ask(self, order_id: str) -> OrderFact | None:
        request = inventory_pb2.GetReservationRequest(order_id=order_id)
        try:
            reservation = await self._channels.call(self._inventory.GetReservation, request)
        except Refused as refusal:
            if refusal.code is grpc.StatusCode.NOT_FOUND:
                return None  # inventory has not heard of it: the outbox goes on telling
            raise
        facts: Mapping[str, OrderFact] = {
            "HELD": StockReserved(order_id=order_id),
            "SOLD": StockReserved(order_id=order_id),
            "RELEASED": StockReleased(order_id=order_id),
            "REJECTED": StockRejected(order_id=order_id, reason=reservation.reason),
        }
        return facts.get(reservation.state)

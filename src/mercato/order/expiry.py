"""Calls off orders that hold stock for longer than the shop wants to wait, where it says so.

Any number of copies may do this: each order changes once, and inventory gives its units back once.
"""

import asyncio
from dataclasses import replace
from typing import Final

import structlog
from pymongo import IndexModel
from pymongo.errors import PyMongoError

from mercato.kernel.errors import AppError
from mercato.order.usecase import Ordering
from mercato.platform.mongo import Shape

EVERY_S: Final = 1.0
BATCH_MAX: Final = 500

HELD: Final = IndexModel(
    [("reserved_at", 1)], name="held",
    partialFilterExpression={"status": "PENDING", "stock": "RESERVED"},
)  # fmt: skip

log = structlog.get_logger()


def expiring(orders: Shape) -> Shape:
    """Returns what the orders' collection must be where holds run out: they are found by an index.

    Without it a change that leaves the status alone touches no index at all.
    """
    former = tuple(name for name in orders.former if name != HELD.document["name"])
    return replace(orders, indexes=(*orders.indexes, HELD), former=former)


class Expiry:
    """Looks once a second for pending orders that have held their stock for over `hold_s`."""

    def __init__(self, ordering: Ordering, hold_s: int) -> None:
        self._ordering = ordering
        self._hold_s = hold_s

    async def run(self) -> None:
        while True:
            try:
                found = await self._ordering.expire(self._hold_s, BATCH_MAX)
            except (PyMongoError, AppError) as failure:
                log.warning("expiry waits", failure=type(failure).__name__)
                found = 0
            if found:
                log.info("orders expired", count=found)
            if found < BATCH_MAX:
                await asyncio.sleep(EVERY_S)

"""What is seen of the databases while the storm is on: balances, locks, and what is waiting."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from mercato.platform.mongo import Document
from mercato.platform.tasks import together

SNAPSHOT_EVERY_S: Final = 0.1
LOCKS_EVERY_S: Final = 0.25
WAITING_EVERY_S: Final = 1.0
ANSWER_MS: Final = 2_000

OUTBOXES: Final = ("order_outbox", "inventory_outbox", "user_outbox")
IS_OPEN: Final = {"not_before": {"$exists": True}}
UNSETTLED: Final = {"status": "PENDING", "stock": "AWAITING"}
ON_THE_WAY: Final = {"state": {"$in": ["NEW", "DOT", "PARKED"]}}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is not at its end yet: orders without a decision, open outbox rows, unsent mails."""

    at_s: float
    orders: int
    rows: int
    mails: int

    @property
    def all(self) -> int:
        return self.orders + self.rows + self.mails


@dataclass(slots=True)
class Seen:
    """What the observer has found."""

    snapshots: int = 0
    missed: int = 0  # the database was away
    unbalanced: list[str] = field(default_factory=list)
    transaction_s_max: float = 0.0
    parked: set[str] = field(default_factory=set)
    waiting: list[Waiting] = field(default_factory=list)


def database(uri: str, name: str) -> AsyncDatabase[Document]:
    """The platform's database, straight and not through a proxy; close its client."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        uri, tz_aware=True, serverSelectionTimeoutMS=ANSWER_MS, timeoutMS=5 * ANSWER_MS
    )
    return client.get_database(name)


class Observer:
    """Reads the database of a platform; it writes one index there, to be cheap."""

    def __init__(self, database: AsyncDatabase[Document], hot: str) -> None:
        self._database = database
        self._hot = ObjectId(hot)
        self.seen = Seen()

    async def prepare(self) -> None:
        """The reservations of the hot product are to be found without reading all others."""
        mine = {"items.product_id": self._hot}
        await self._database.reservations.create_index(
            [("items.product_id", 1), ("state", 1)], name="storm", partialFilterExpression=mine
        )

    async def run(self, began: float) -> None:
        """Looks for ever; `began` is the storm's start (time.monotonic)."""
        await together(
            self._every(SNAPSHOT_EVERY_S, self._snapshot),
            self._every(LOCKS_EVERY_S, self._locks),
            self._every(WAITING_EVERY_S, lambda: self.waiting(began)),
        )

    async def waiting(self, began: float) -> Waiting:
        """Counts what is not at its end, and remembers it; raises PyMongoError."""
        database = self._database
        orders = await database.orders.count_documents(UNSETTLED)
        rows = sum([await database[name].count_documents(IS_OPEN) for name in OUTBOXES])
        mails = await database.mails.count_documents(ON_THE_WAY)
        async for mail in database.mails.find({"state": "PARKED", **IS_OPEN}, {"_id": 1}):
            self.seen.parked.add(mail["_id"])
        found = Waiting(time.monotonic() - began, orders, rows, mails)
        self.seen.waiting.append(found)
        return found

    async def _every(self, seconds: float, look: Callable[[], Awaitable[object]]) -> None:
        due = time.monotonic()
        while True:
            try:
                await look()
            except PyMongoError:
                self.seen.missed += look == self._snapshot
            due = max(due + seconds, time.monotonic())
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _snapshot(self) -> None:
        """One moment of the hot product: its stock, what orders have of it, what there ever was."""
        database = self._database
        async with database.client.start_session(snapshot=True) as session:
            product = await database.products.find_one({"_id": self._hot}, session=session)
            mine = {"items.product_id": self._hot, "state": {"$in": ["HELD", "SOLD"]}}
            taken = await _sum(
                await database.reservations.aggregate(_units(mine, self._hot), session=session)
            )
            came = {"product_id": self._hot, "cause": {"$in": ["initial", "restocked"]}}
            sum_of = {"$group": {"_id": None, "sum": {"$sum": "$delta"}}}
            there = await _sum(
                await database.stock_ledger.aggregate([{"$match": came}, sum_of], session=session)
            )
        self.seen.snapshots += 1
        stock = product["stock"] if product else 0
        if stock + taken != there or stock < 0:
            self.seen.unbalanced.append(f"{stock} in stock + {taken} held or sold != {there}")

    async def _locks(self) -> None:
        """How long the oldest open transaction has held what it wrote."""
        everything = {"$currentOp": {"allUsers": True, "idleSessions": True}}
        open_ones = {"$match": {"transaction": {"$exists": True}}}
        oldest = {"$group": {"_id": None, "us": {"$max": "$transaction.timeOpenMicros"}}}
        found = await self._database.client.admin.aggregate([everything, open_ones, oldest])
        for each in await found.to_list():
            longest = self.seen.transaction_s_max
            self.seen.transaction_s_max = max(longest, int(each["us"] or 0) / 1e6)


def _units(match: Document, product: ObjectId) -> list[dict[str, Any]]:
    return [
        {"$match": match},
        {"$unwind": "$items"},
        {"$match": {"items.product_id": product}},
        {"$group": {"_id": None, "sum": {"$sum": "$items.quantity"}}},
    ]


async def _sum(cursor: Any) -> int:
    found = await cursor.to_list()
    return int(found[0]["sum"]) if found else 0

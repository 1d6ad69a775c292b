"""One instant of all collections, read in the order of their ids and never held in memory.

Every document about an order carries the order's id, or begins its own id with it. So all
collections, each read in the order of `_id`, can be walked side by side like the parts of a
merge sort: what the databases hold about one order comes together in one `Case`. The one snapshot
session shows them all as they were at one cluster time, however long the walk takes.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final, Protocol

import pymongo
from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo.errors import OperationFailure

from mercato.audit.model import Case, Document, Sums
from mercato.platform.mongo import Session, Store
from mercato.platform.outbox import KINDS
from mercato.platform.settings import SettingsError

BATCH: Final = 1000
REACH_S: Final = 3.0
OUTBOXES: Final = ("order_outbox", "inventory_outbox", "user_outbox")
ID_LENGTH: Final = 24
TOO_LONG: Final = (
    "the audit takes longer than mongod keeps the past: give it more with "
    "--setParameter minSnapshotHistoryWindowInSeconds=1800 (the default is 300)"
)
_HISTORY: Final = "minSnapshotHistoryWindowInSeconds"
_HISTORY_S: Final = 300.0  # by default
_END: Final = "\U0010ffff"  # after every id
_NO_REPLICA_SET: Final = (72, 123, 246)  # InvalidOptions, NotAReplicaSet, SnapshotUnavailable
_TOO_OLD: Final = 239

_OF_ORDERS: Final = {
    "$or": [
        {"$in": ["$cause", ["held", "released"]]},
        {
            "$and": [
                {"$eq": ["$cause", "audit"]},
                {"$eq": [{"$substrCP": ["$by", 0, 6]}, "order:"]},
            ]
        },
    ]
}


async def history_s(store: Store) -> float:
    """Returns for how long mongod shows the past; the default where we may not ask."""
    with pymongo.timeout(REACH_S):
        try:
            answer = await store.client.admin.command({"getParameter": 1, _HISTORY: 1})
        except OperationFailure:
            return _HISTORY_S
    return float(answer[_HISTORY])


class Cursor(Protocol):
    """What the driver's two kinds of cursor have in common."""

    async def to_list(self, length: int | None = None) -> list[dict[str, Any]]: ...


class Snapshot:
    """The databases as they were `at` one instant, by mongod's clock; get one from `open`."""

    def __init__(self, store: Store, session: Session, at: datetime) -> None:
        # without the converter of large integers, which would be asked about every value
        plain: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
        self._database = store.database.with_options(codec_options=plain)
        self._session = session
        self.at = at

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store) -> "AsyncIterator[Snapshot]":
        """Gives one instant; raises SettingsError where MongoDB cannot show one."""
        with pymongo.timeout(REACH_S):  # what can be repeated is, for as long as it may take
            hello = await store.client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise SettingsError(
                "MONGO_URI leads to a standalone mongod, which cannot show all collections at one "
                "instant; Mercato needs a replica set, if only of one member"
            )
        try:
            async with store.session(snapshot=True) as session:
                with pymongo.timeout(REACH_S):  # the first read sets the instant
                    await store["orders"].find_one({}, {"_id": 1}, session=session)
                yield cls(store, session, hello["localTime"].replace(tzinfo=UTC))
        except OperationFailure as failure:
            if failure.code == _TOO_OLD:
                raise SettingsError(TOO_LONG) from failure
            if failure.code in _NO_REPLICA_SET:
                raise SettingsError(f"MongoDB shows no snapshot: {failure}") from failure
            raise

    async def cases(self, young: timedelta, recent: timedelta) -> AsyncIterator[Case]:
        """Yields what there is under each id, in the order of the ids.

        An order says whether it is `young`er than that, a reservation whether it has changed so
        `recent`ly.
        """
        is_young = {"$gt": ["$created_at", self.at - young]}
        is_recent = {"$gt": ["$updated_at", self.at - recent]}
        orders = self._stream("orders", _ORDER | {"young": is_young})
        reservations = self._stream("reservations", _RESERVATION | {"recent": is_recent})
        users = self._stream("users", {"_id": 1})
        moves = self._stream("stock_ledger", {"product_id": 1, "delta": 1, "cause": 1}, _MOVED)
        mails = self._stream("mails", _MAIL)
        rows = [await self._open_rows(name) for name in OUTBOXES]
        streams = [orders, reservations, users, moves, mails, *rows]
        for stream in streams:
            await stream.start()
        while (key := min([stream.key for stream in streams])) != _END:
            case = Case(key)
            if orders.key == key:
                case.order = (await orders.take())[0]
            if reservations.key == key:
                case.reservation = (await reservations.take())[0]
            if users.key == key:
                case.user = (await users.take())[0]
            if moves.key == key:
                case.moves = await moves.take()
            if mails.key == key:
                case.mails = await mails.take()
            for stream in rows:
                if stream.key == key:
                    case.rows += await stream.take()
            yield case

    async def products(self) -> AsyncIterator[Sums]:
        """Yields the sums of every product that is there or that something tells of."""
        ledger = _Stream(await self._aggregate("stock_ledger", _LEDGER_SUMS))
        reserved = _Stream(await self._aggregate("reservations", _RESERVED_SUMS))
        products = self._stream("products", {"stock": 1})
        streams = (products, ledger, reserved)
        for stream in streams:
            await stream.start()
        while (key := min(stream.key for stream in streams)) != _END:
            found: dict[str, Any] = {}
            for stream in streams:
                if stream.key == key:
                    found |= (await stream.take())[0]
            del found["_id"]
            yield Sums(product_id=key, **found)

    async def dead_letters(self) -> AsyncIterator[Document]:
        """Yields every letter with its `state`."""
        shown = {"consumer": 1, "subject": 1, "reason": 1, "state": 1}
        found = self._database["dead_letters"].find({}, shown, session=self._session)
        async for letter in found:
            yield letter

    async def users_among(self, ids: Sequence[ObjectId]) -> set[ObjectId]:
        """Returns which of these users there are."""
        return await self._among("users", ids)

    async def told_among(self, order_ids: Sequence[str]) -> set[str]:
        """Returns the orders whose creation our own outbox has a row of, open or closed."""
        ids = [f"{order_id}:order.created" for order_id in order_ids]
        return {each[:ID_LENGTH] for each in await self._among("order_outbox", ids)}

    async def _among(self, name: str, ids: Sequence[Any]) -> set[Any]:
        found = self._database[name].find({"_id": {"$in": ids}}, {"_id": 1}, session=self._session)
        return {document["_id"] for document in await found.to_list()}

    def _stream(self, name: str, projection: Document, query: Document | None = None) -> "_Stream":
        found = self._database[name].find(
            query or {}, projection, session=self._session, batch_size=BATCH
        )
        return _Stream(found.sort("_id", 1))

    async def _open_rows(self, name: str) -> "_Stream":
        """The rows that wait for their answer; few, and found by the relay's own index."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"kind": {"$in": list(KINDS)}, "not_before": {"$exists": True}}},
            {"$project": _ROW | {"outbox": name, "ours": {"$literal": name == "order_outbox"}}},
            {"$sort": {"key": 1}},
        ]
        return _Stream(await self._aggregate(name, pipeline), "key")

    async def _aggregate(self, name: str, pipeline: list[dict[str, Any]]) -> Cursor:
        return await self._database[name].aggregate(
            pipeline, session=self._session, batchSize=BATCH, allowDiskUse=True
        )


class _Stream:
    """A cursor in the order of its ids; `key` is the id that its next documents are about."""

    def __init__(self, cursor: Cursor, by: str = "_id") -> None:
        self._cursor = cursor
        self._by = itemgetter(by)
        self._batch: list[dict[str, Any]] = []
        self._next = 0
        self.key = _END

    async def start(self) -> None:
        await self._fill()

    async def take(self) -> list[Document]:
        """Returns all documents about `key`, and goes on to the next one."""
        key = self.key
        taken: list[Document] = []
        while self.key == key:
            taken.append(self._batch[self._next])
            self._next += 1
            if self._next == len(self._batch):
                await self._fill()
            else:
                self._look()
        return taken

    async def _fill(self) -> None:
        self._batch, self._next = await self._cursor.to_list(BATCH), 0
        if self._batch:
            self._look()
        else:
            self.key = _END

    def _look(self) -> None:
        self.key = str(self._by(self._batch[self._next]))[:ID_LENGTH]


_ITEMS: Final = {"products": "$items.product_id", "quantities": "$items.quantity"}
_ORDER: Final = _ITEMS | {
    "user_id": 1, "status": 1, "stock": 1,
    "reserved": {"$in": ["stock reserved", {"$ifNull": ["$history.action", []]}]},
}  # fmt: skip
_RESERVATION: Final = _ITEMS | {"state": 1}
_IS_UNSENT: Final = {"$ne": ["$state", "SENT"]}
_MAIL: Final = {
    "state": 1, "message_id": 1,
    "since": {"$cond": [_IS_UNSENT, "$created_at", "$$REMOVE"]},
    "reason": {"$cond": [_IS_UNSENT, "$reason", "$$REMOVE"]},
}  # fmt: skip
_MOVED: Final = {
    "$or": [
        {"cause": {"$in": ["held", "released"]}},
        {"cause": "audit", "by": {"$regex": "^order:"}},  # the others are about a product
    ]
}
_ROW: Final = {
    "subject": 1, "created_at": 1, "headers": 1, "emission": 1, "kind": 1,
    "key": {"$substrCP": ["$_id", 0, ID_LENGTH]},
}  # fmt: skip
_LEDGER_SUMS: Final[list[dict[str, Any]]] = [
    {
        "$group": {
            "_id": "$product_id",
            "ledger": {"$sum": "$delta"},
            "initial": {"$sum": {"$cond": [{"$eq": ["$cause", "initial"]}, "$delta", 0]}},
            "moved": {"$sum": {"$cond": [_OF_ORDERS, "$delta", 0]}},
            "rows_of_orders": {"$sum": {"$cond": [_OF_ORDERS, 1, 0]}},
        }
    },
    {"$sort": {"_id": 1}},
    {
        "$project": {
            "ledger": 1,
            "initial": 1,
            "rows_of_orders": 1,
            "taken": {"$multiply": ["$moved", -1]},
            "restocked": {"$subtract": ["$ledger", {"$add": ["$initial", "$moved"]}]},
        }
    },
]
_RESERVED_SUMS: Final[list[dict[str, Any]]] = [
    {"$match": {"state": {"$in": ["HELD", "SOLD"]}}},
    {"$unwind": "$items"},
    {
        "$group": {
            "_id": "$items.product_id",
            "held": {"$sum": {"$cond": [{"$eq": ["$state", "HELD"]}, "$items.quantity", 0]}},
            "sold": {"$sum": {"$cond": [{"$eq": ["$state", "SOLD"]}, "$items.quantity", 0]}},
        }
    },
    {"$sort": {"_id": 1}},
]

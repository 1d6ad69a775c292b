"""Databases, collections and cursors, with the methods of pymongo's that our code calls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    NetworkTimeout,
    WriteError,
)
from pymongo.results import BulkWriteResult, InsertManyResult, UpdateResult
from pymongo.write_concern import WriteConcern

from tests.simulation.mongo import writing
from tests.simulation.mongo.connection import TIMEOUT_S, Connection
from tests.simulation.mongo.documents import Document
from tests.simulation.mongo.server import TRANSIENT, Blocked
from tests.simulation.mongo.session import Session, majority

BLOCKED_S = 0.005
Query = Mapping[str, Any]


class Database:
    def __init__(self, client: Connection, write_concern: WriteConcern) -> None:
        self.connection = client
        self.safe = majority(write_concern)

    def __getitem__(self, name: str) -> "Collection":
        return Collection(self, name)


class Collection:
    """The methods of pymongo's AsyncCollection that our code calls."""

    def __init__(self, database: Database, name: str) -> None:
        self._client = database.connection
        self._safe = database.safe
        self.name = name

    def find(
        self, query: Query, projection: Mapping[str, int] | None = None, *,
        session: Session | None = None, sort: Sequence[tuple[str, int]] = (),
    ) -> "Cursor":  # fmt: skip
        return Cursor(self, query, projection, session, list(sort))

    async def find_one(
        self, query: Query, projection: Mapping[str, int] | None = None, *,
        session: Session | None = None, sort: Sequence[tuple[str, int]] = (),
    ) -> Document | None:  # fmt: skip
        found = await self.find(query, projection, session=session, sort=sort).limit(1).to_list()
        return found[0] if found else None

    async def count_documents(self, query: Query) -> int:
        return len(await self.find(query).to_list())

    async def insert_many(
        self, documents: Sequence[Document], ordered: bool = True, session: Session | None = None
    ) -> InsertManyResult:
        await self._write([writing.insert(each) for each in documents], ordered, session, "insert")
        return InsertManyResult([each["_id"] for each in documents], True)

    async def update_one(
        self, query: Query, change: Query, upsert: bool = False, session: Session | None = None
    ) -> UpdateResult:
        write = writing.update(query, change, many=False, upsert=upsert)
        return await self._update(write, session)

    async def update_many(
        self, query: Query, change: Query, upsert: bool = False, session: Session | None = None
    ) -> UpdateResult:
        write = writing.update(query, change, many=True, upsert=upsert)
        return await self._update(write, session)

    async def bulk_write(
        self, requests: Sequence[Any], ordered: bool = True, session: Session | None = None
    ) -> BulkWriteResult:
        writes = [writing.requested(each) for each in requests]
        return BulkWriteResult(await self._write(writes, ordered, session, "bulk"), True)

    async def find_one_and_update(
        self, query: Query, change: Query, *, return_document: bool
    ) -> Document | None:
        target = writing.Target(self._client.server, self.name, self._safe)
        write = writing.update(query, change, many=False, upsert=False)

        def work() -> Document | None:
            found = list(target.server.find(self.name, query, None))[:1]
            if not return_document:
                raise NotImplementedError("the document as it was")
            if not found:
                return None
            writing.apply(target, [write], True, None)
            return target.server.docs[self.name][found[0].data["_id"]].read()

        return await self._client.call(f"find and update {self.name}", work)

    async def _update(self, write: writing.Write, session: Session | None) -> UpdateResult:
        try:
            told = await self._write([write], True, session, "update")
        except BulkWriteError as failure:
            error = failure.details["writeErrors"][0]
            kind = DuplicateKeyError if error["code"] == writing.DUPLICATE_KEY else WriteError
            raise kind(error["errmsg"], error["code"], error) from None
        raw = {"n": told["nMatched"], "nModified": told["nModified"]}
        return UpdateResult(raw, True)

    async def _write(
        self, writes: Sequence[writing.Write], ordered: bool, session: Session | None, what: str
    ) -> dict[str, Any]:
        """Writes one after the other; a plain write waits for the transactions in its way."""
        target = writing.Target(self._client.server, self.name, self._safe)
        what = f"{what} {self.name}"
        if session is not None:
            labels = TRANSIENT
            return await self._client.call(
                what, lambda: writing.apply(target, writes, ordered, session.transaction),
                labels=labels,
            )  # fmt: skip
        deadline = self._client.server.time() + TIMEOUT_S
        left = list(writes)
        told = writing.nothing_written()
        if len(left) > 1 and self._client.trouble.happens("store_refuses"):
            some = left[: self._client.trouble.chance.randrange(len(left))]
            with contextlib.suppress(BulkWriteError, Blocked):
                await self._client.call(
                    f"{what}, a part", lambda: writing.apply(target, some, ordered, None, told)
                )
            raise AutoReconnect("connection closed in the middle")
        while True:
            try:
                return await self._client.call(
                    what, lambda: writing.apply(target, left, ordered, None, told)
                )
            except Blocked:
                if self._client.server.time() > deadline:
                    raise NetworkTimeout("the operation took too long") from None
                await asyncio.sleep(BLOCKED_S)


class Cursor:
    """What `find` returns: sorted, skipped, limited, and asked for when it is read."""

    def __init__(
        self, collection: Collection, query: Query, projection: Mapping[str, int] | None,
        session: Session | None, sort: list[tuple[str, int]],
    ) -> None:  # fmt: skip
        self._collection = collection
        self._query = query
        self._projection = projection
        self._session = session
        self._sort = sort
        self._limit: int | None = None

    def sort(self, key: str | list[tuple[str, int]], direction: int = 1) -> "Cursor":
        self._sort = [(key, direction)] if isinstance(key, str) else key
        return self

    def limit(self, count: int) -> "Cursor":
        self._limit = count or None
        return self

    async def to_list(self) -> list[Document]:
        labels = TRANSIENT if self._session is not None else None
        what = f"find {self._collection.name}"
        return await self._collection._client.call(what, self._read, labels=labels)

    async def __aiter__(self) -> AsyncIterator[Document]:
        for document in await self.to_list():
            yield document

    def _read(self) -> list[Document]:
        transaction = self._session.transaction if self._session is not None else None
        server = self._collection._client.server
        found = list(server.find(self._collection.name, self._query, transaction))
        for name, direction in reversed(self._sort):
            found.sort(key=lambda stored: stored.data[name], reverse=direction < 0)
        return [stored.read(self._projection) for stored in found[: self._limit]]

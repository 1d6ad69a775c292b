"""Write operations: what each does to the documents it finds, and what the driver is told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from tests.simulation.mongo.documents import Document, updated
from tests.simulation.mongo.server import Duplicate, Invalid, Server, Transaction

DUPLICATE_KEY = 11000
BREAKS_RULES = 121


@dataclass(frozen=True, slots=True)
class Target:
    """Where a write goes; not `safe`: without waiting for a majority."""

    server: Server
    name: str
    safe: bool

    def find(self, query: Mapping[str, Any], transaction: Transaction | None) -> list[Document]:
        found = self.server.find(self.name, query, transaction)
        return [stored.data for stored in found]

    def put(self, _id: Any, document: Document | None, transaction: Transaction | None) -> None:
        self.server.put(self.name, _id, document, transaction, safe=self.safe)


Told = dict[str, Any]
Write = Callable[[Target, Transaction | None, Told], None]


def nothing_written() -> Told:
    return {
        "writeErrors": [], "writeConcernErrors": [], "nInserted": 0, "nUpserted": 0,
        "nMatched": 0, "nModified": 0, "nRemoved": 0, "upserted": [], "done": 0,
    }  # fmt: skip


def apply(
    target: Target, writes: Sequence[Write], ordered: bool,
    transaction: Transaction | None, told: Told | None = None,
) -> Told:  # fmt: skip
    """Applies `writes`, going on where `told` left off; raises BulkWriteError.

    An error ends a transaction; outside of one the unordered rest is written all the same.
    """
    told = nothing_written() if told is None else told
    while told["done"] < len(writes):
        index = told["done"]
        try:
            writes[index](target, transaction, told)
        except (Duplicate, Invalid) as failure:
            told["writeErrors"].append(_error(index, failure))
            if transaction is not None:
                transaction.abort()
            if ordered or transaction is not None:
                break
        told["done"] += 1
    if told["writeErrors"]:
        raise BulkWriteError(told)
    return told


def _error(index: int, failure: Duplicate | Invalid) -> dict[str, Any]:
    error: dict[str, Any] = {"index": index, "errmsg": str(failure), "code": BREAKS_RULES}
    if isinstance(failure, Duplicate):
        error |= {
            "code": DUPLICATE_KEY, "keyPattern": failure.pattern, "keyValue": failure.key,
        }  # fmt: skip
    return error


def insert(document: Mapping[str, Any]) -> Write:
    def write(target: Target, transaction: Transaction | None, told: Told) -> None:
        _id = document["_id"]
        if target.find({"_id": _id}, transaction):
            raise Duplicate("_id_", {"_id": 1}, {"_id": _id})
        target.put(_id, dict(document), transaction)
        told["nInserted"] += 1

    return write


def update(query: Mapping[str, Any], change: Any, *, many: bool, upsert: bool) -> Write:
    def write(target: Target, transaction: Transaction | None, told: Told) -> None:
        found = target.find(query, transaction)[: None if many else 1]
        if transaction is None:
            target.server.free(target.name, [data["_id"] for data in found])
        if not found and upsert:
            fresh = updated({"_id": query["_id"]}, change, inserts=True)
            target.put(query["_id"], fresh, transaction)
            told["nUpserted"] += 1
            return
        for data in found:
            fresh = updated(data, change, inserts=False)
            told["nMatched"] += 1
            if fresh != data:
                target.put(data["_id"], fresh, transaction)
                told["nModified"] += 1

    return write


def _replace(query: Mapping[str, Any], document: Mapping[str, Any]) -> Write:
    def write(target: Target, transaction: Transaction | None, told: Told) -> None:
        for data in target.find(query, transaction)[:1]:
            target.put(data["_id"], {"_id": data["_id"], **document}, transaction)
            told["nMatched"] += 1
            told["nModified"] += 1

    return write


def _delete(query: Mapping[str, Any]) -> Write:
    def write(target: Target, transaction: Transaction | None, told: Told) -> None:
        for data in target.find(query, transaction)[:1]:
            target.put(data["_id"], None, transaction)
            told["nRemoved"] += 1

    return write


def requested(request: Any) -> Write:
    """Returns what one of pymongo's requests of a bulk write does."""
    if isinstance(request, InsertOne):
        return insert(request._doc)
    if isinstance(request, UpdateOne | UpdateMany):
        if request._array_filters or request._collation or request._hint or request._sort:
            raise NotImplementedError(f"{request!r}")
        many = isinstance(request, UpdateMany)
        return update(request._filter, request._doc, many=many, upsert=bool(request._upsert))
    if isinstance(request, ReplaceOne) and not request._upsert:
        return _replace(request._filter, request._doc)
    if isinstance(request, DeleteOne):
        return _delete(request._filter)
    raise NotImplementedError(f"{request!r}")

"""Security events in MongoDB: added and found, and nothing else.

Ids are in time order to the second, so the newest come first by id alone. The code has no way to
change or delete one; with `--secure`, the database user has none either.
"""

from collections.abc import Sequence
from typing import Any, Final

import structlog
from bson import ObjectId
from pymongo import IndexModel
from pymongo.errors import BulkWriteError

from mercato.platform.mongo import Document, Shape, Store
from mercato.user.model.trail import KINDS, SecurityEvent
from mercato.user.usecase.trail import Search

SECURITY_EVENTS: Final = "security_events"

_DUPLICATE_KEY: Final = 11000
_TEXT: Final = {"bsonType": "string", "maxLength": 300}
_FIELDS: Final = {
    "_id": {"bsonType": "objectId"},
    "at": {"bsonType": "date"},
    "kind": {"enum": list(KINDS)},
    "user_id": _TEXT | {"pattern": "^([0-9a-f]{24})?$"},
    "actor": _TEXT,
    "address": _TEXT,
    "detail": {"bsonType": "object", "maxProperties": 12, "additionalProperties": _TEXT},
    "count": {"bsonType": ["int", "long"], "minimum": 1},
}
SHAPES: Final = {
    SECURITY_EVENTS: Shape(
        schema={
            "bsonType": "object", "required": list(_FIELDS), "properties": _FIELDS,
            "additionalProperties": False,
        },
        indexes=(
            IndexModel([("kind", 1), ("_id", -1)], name="kind"),
            IndexModel([("user_id", 1), ("_id", -1)], name="user"),
        ),
    ),
}  # fmt: skip

log = structlog.get_logger()


class MongoEvents:
    """The collection `security_events`."""

    def __init__(self, store: Store) -> None:
        self._events = store[SECURITY_EVENTS]

    async def add(self, events: Sequence[SecurityEvent]) -> None:
        """Adds those of `events` that are not there yet, by their ids."""
        if not events:
            return
        try:
            await self._events.insert_many([_document(each) for each in events], ordered=False)
        except BulkWriteError as failure:
            errors = (failure.details or {}).get("writeErrors", ())
            if not errors or any(error["code"] != _DUPLICATE_KEY for error in errors):
                raise

    async def find(self, search: Search) -> list[SecurityEvent]:
        """Returns what `search` wants, newest first."""
        ids: dict[str, ObjectId] = {}
        if search.before:
            ids["$lt"] = ObjectId(search.before)
        if search.since is not None:
            ids["$gte"] = ObjectId.from_datetime(search.since)
        query: dict[str, Any] = {"_id": ids} if ids else {}
        query |= {"kind": search.kind} if search.kind else {}
        query |= {"user_id": search.user_id} if search.user_id else {}
        found = self._events.find(query).sort("_id", -1).limit(search.limit)
        return [_event(document) async for document in found]


def log_event(event: SecurityEvent) -> None:
    """Writes `event` into the log too, which others keep: it outlives the database."""
    log.info(
        "security event", id=event.id, kind=event.kind, user_id=event.user_id, actor=event.actor,
        address=event.address, count=event.count, detail=dict(event.detail),
    )  # fmt: skip


def _document(event: SecurityEvent) -> Document:
    return {
        "_id": ObjectId(event.id), "at": event.at, "kind": event.kind, "user_id": event.user_id,
        "actor": event.actor, "address": event.address, "detail": dict(event.detail),
        "count": event.count,
    }  # fmt: skip


def _event(document: Document) -> SecurityEvent:
    same = ("at", "kind", "user_id", "actor", "address", "detail", "count")
    return SecurityEvent(id=str(document["_id"]), **{name: document[name] for name in same})

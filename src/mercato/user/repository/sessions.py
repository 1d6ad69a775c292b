"""Sessions in MongoDB: each change is one document's, and compares before it sets.

Times of ends are the database's own, so that gateways miss none whatever our clocks say.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import ObjectId
from pymongo import IndexModel

from mercato.platform.fold import Fold
from mercato.platform.mongo import Document, Shape, Store
from mercato.user.model.session import Device, Session

SESSIONS: Final = "sessions"
# What has ended or run out stays so long, for gateways that were cut off.
KEPT_S: Final = 3600
OF_ONE_MAX: Final = 200

_TEXT = {"bsonType": "string", "maxLength": 256}
_DATE = {"bsonType": "date"}
_FIELDS = {
    "_id": {"bsonType": "objectId"},
    "user_id": {"bsonType": "objectId"},
    "client_id": _TEXT,
    "scopes": {"bsonType": "array", "maxItems": 32, "items": _TEXT},
    "address": _TEXT,
    "agent": _TEXT,
    "place": {"bsonType": ["int", "long"], "minimum": 0},
    "hash": {"bsonType": "binData"},
    "created_at": _DATE,
    "refreshed_at": _DATE,
    "expires_at": _DATE,
}
SHAPES: Final = {
    SESSIONS: Shape(
        schema={
            "bsonType": "object",
            "required": list(_FIELDS),
            "properties": _FIELDS | {"ended_at": _DATE},
            "additionalProperties": False,
        },
        indexes=(
            IndexModel([("user_id", 1), ("refreshed_at", -1)], name="user"),
            IndexModel(
                [("ended_at", 1), ("_id", 1)],
                name="ended",
                partialFilterExpression={"ended_at": {"$exists": True}},
            ),
            IndexModel([("expires_at", 1)], name="old", expireAfterSeconds=KEPT_S),
        ),
    )
}

_LIVES: Final[Mapping[str, Any]] = {"ended_at": None}
_ENDS: Final = [{"$set": {"ended_at": "$$NOW", "expires_at": "$$NOW"}}]


class MongoSessions:
    """The collection `sessions`; sign-ins at the same moment are written together."""

    def __init__(self, store: Store) -> None:
        self._sessions = store[SESSIONS]
        self._add: Fold[Session, None] = Fold(self._add_group)

    async def add(self, session: Session) -> None:
        await self._add(session)

    async def get(self, session_id: str) -> Session | None:
        document = await self._sessions.find_one({"_id": ObjectId(session_id)})
        return _session(document) if document else None

    async def rotate(self, session: Session, before: int) -> bool:
        # one that is too late waits here until the faster one's write is the majority's, and then
        # reads it: the server acknowledges even what matched nothing no earlier
        same = {"_id": ObjectId(session.id), "place": before, **_LIVES}
        after = _document(session)
        changed = ("address", "agent", "place", "hash", "refreshed_at", "expires_at")
        fields = {name: after[name] for name in changed}
        return (await self._sessions.update_one(same, {"$set": fields})).matched_count == 1

    async def end(self, session_id: str, user_id: str) -> bool:
        mine = {"_id": ObjectId(session_id), "user_id": ObjectId(user_id), **_LIVES}
        return (await self._sessions.update_one(mine, _ENDS)).matched_count == 1

    async def end_all(self, user_id: str, but: str) -> int:
        mine: Document = {"user_id": ObjectId(user_id), **_LIVES}
        if but:
            mine["_id"] = {"$ne": ObjectId(but)}
        return (await self._sessions.update_many(mine, _ENDS)).matched_count

    async def of(self, user_id: str) -> Sequence[Session]:
        mine = {"user_id": ObjectId(user_id), **_LIVES}
        found = self._sessions.find(mine).sort("refreshed_at", -1).limit(OF_ONE_MAX)
        return [_session(document) async for document in found]

    async def ended_since(self, at: datetime, after_id: str, limit: int) -> Sequence[Session]:
        last = ObjectId(after_id or "f" * 24)
        later = {"$or": [{"ended_at": at, "_id": {"$gt": last}}, {"ended_at": {"$gt": at}}]}
        found = self._sessions.find(later).sort([("ended_at", 1), ("_id", 1)]).limit(limit)
        return [_session(document) async for document in found]

    async def _add_group(self, group: list[Session]) -> Sequence[Exception | None]:
        await self._sessions.insert_many([_document(each) for each in group], ordered=False)
        return [None] * len(group)


def _session(document: Document) -> Session:
    return Session(
        id=str(document["_id"]), user_id=str(document["user_id"]),
        device=Device(document["address"], document["agent"]), client_id=document["client_id"],
        scopes=tuple(document["scopes"]), place=document["place"], hash=bytes(document["hash"]),
        created_at=document["created_at"], refreshed_at=document["refreshed_at"],
        expires_at=document["expires_at"], ended_at=document.get("ended_at"),
    )  # fmt: skip


def _document(session: Session) -> Document:
    return {
        "_id": ObjectId(session.id), "user_id": ObjectId(session.user_id),
        "client_id": session.client_id, "scopes": list(session.scopes),
        "address": session.device.address, "agent": session.device.agent[:256],
        "place": session.place, "hash": session.hash, "created_at": session.created_at,
        "refreshed_at": session.refreshed_at, "expires_at": session.expires_at,
    }  # fmt: skip

"""OAuth clients, what users allow them, and the codes and tickets in between.

Of secrets, codes and tickets only hashes are kept.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from bson import ObjectId
from pymongo import IndexModel

from mercato.platform.mongo import Document, Shape, Store
from mercato.user.model.oauth import Client, hashed
from mercato.user.model.oauth_codes import CODE_KEPT_S, Code, Ticket

CLIENTS: Final = "oauth_clients"
CODES: Final = "oauth_codes"
LOGINS: Final = "oauth_logins"
CONSENTS: Final = "oauth_consents"
LINKS: Final = "oauth_links"

_TEXT = {"bsonType": "string"}
_TEXTS = {"bsonType": "array", "items": _TEXT}
_DATE = {"bsonType": "date"}
_HASH = _TEXT | {"pattern": "^[0-9a-f]{64}$"}
_ID = {"bsonType": "objectId"}
_BEGUN = [
    IndexModel([("gone_at", 1)], name="gone", expireAfterSeconds=0),
    IndexModel([("user_id", 1)], name="user"),
]


def _shape(fields: Document, indexes: Sequence[IndexModel] = (), optional: int = 0) -> Shape:
    """The last `optional` of the fields may be absent."""
    required = list(fields)[: len(fields) - optional]
    schema = {"bsonType": "object", "required": required, "properties": fields}
    return Shape(schema=schema, indexes=indexes)


SHAPES: Final = {
    CLIENTS: _shape({
        "_id": _ID, "name": _TEXT, "redirect_uris": _TEXTS, "scopes": _TEXTS, "grants": _TEXTS,
        "created_at": _DATE, "secret_hash": _TEXT | {"pattern": "^([0-9a-f]{64})?$"},
    }),
    CODES: _shape(
        {
            "_id": _HASH, "user_id": _ID, "client_id": _TEXT, "redirect_uri": _TEXT,
            "scopes": _TEXTS, "nonce": _TEXT, "challenge": _TEXT, "auth_time": _DATE,
            "expires_at": _DATE, "gone_at": _DATE, "uses": {"bsonType": ["int", "long"]},
            "session_id": _TEXT,
        },
        _BEGUN,
        optional=1,
    ),
    LOGINS: _shape(
        {"_id": _HASH, "user_id": _ID, "auth_time": _DATE, "bound_to": _HASH, "gone_at": _DATE},
        _BEGUN,
    ),
    CONSENTS: _shape(
        {"_id": {"bsonType": "object"}, "scopes": _TEXTS, "at": _DATE},
        [IndexModel([("_id.client", 1)], name="client")],
    ),
    LINKS: _shape(
        {"_id": {"bsonType": "object"}, "user_id": _ID, "at": _DATE},
        [IndexModel([("user_id", 1)], name="user")],
    ),
}  # fmt: skip


class MongoOAuth:
    """The collections `oauth_*`, but for the links to outside providers."""

    def __init__(self, store: Store) -> None:
        self._clients = store[CLIENTS]
        self._codes = store[CODES]
        self._logins = store[LOGINS]
        self._consents = store[CONSENTS]

    async def add(self, client: Client) -> None:
        await self._clients.insert_one({
            "_id": ObjectId(client.id), "name": client.name, "created_at": client.created_at,
            "redirect_uris": list(client.redirect_uris), "secret_hash": client.secret_hash,
            "scopes": sorted(client.scopes), "grants": sorted(client.grants),
        })  # fmt: skip

    async def get(self, client_id: str) -> Client | None:
        if not ObjectId.is_valid(client_id):
            return None
        document = await self._clients.find_one({"_id": ObjectId(client_id)})
        return _client(document) if document else None

    async def all(self) -> Sequence[Client]:
        return [_client(document) async for document in self._clients.find().sort("_id", 1)]

    async def remove(self, client_id: str) -> Client | None:
        document = await self._clients.find_one_and_delete({"_id": ObjectId(client_id)})
        if document is None:
            return None
        await self._consents.delete_many({"_id.client": client_id})
        await self._codes.delete_many({"client_id": client_id})
        return _client(document)

    async def consented(self, user_id: str, client_id: str) -> frozenset[str]:
        document = await self._consents.find_one({"_id": _pair(user_id, client_id)})
        return frozenset(document["scopes"]) if document else frozenset()

    async def consent(
        self, user_id: str, client_id: str, scopes: frozenset[str], at: datetime
    ) -> None:
        change = {"$addToSet": {"scopes": {"$each": sorted(scopes)}}, "$set": {"at": at}}
        await self._consents.update_one({"_id": _pair(user_id, client_id)}, change, upsert=True)

    async def keep_ticket(self, ticket: Ticket) -> None:
        await self._logins.insert_one({
            "_id": ticket.id, "user_id": ObjectId(ticket.user_id), "bound_to": ticket.bound_to,
            "auth_time": ticket.auth_time, "gone_at": ticket.expires_at,
        })  # fmt: skip

    async def take_ticket(self, ticket: str) -> Ticket | None:
        found = await self._logins.find_one_and_delete({"_id": hashed(ticket)})
        if found is None:
            return None
        return Ticket(
            found["_id"], str(found["user_id"]), found["auth_time"], found["gone_at"],
            found["bound_to"],
        )  # fmt: skip

    async def keep_code(self, code: Code) -> None:
        await self._codes.insert_one({
            "_id": code.id, "user_id": ObjectId(code.user_id), "client_id": code.client_id,
            "redirect_uri": code.redirect_uri, "scopes": sorted(code.scopes), "nonce": code.nonce,
            "challenge": code.challenge, "auth_time": code.auth_time, "uses": 0,
            "expires_at": code.expires_at,
            "gone_at": code.expires_at + timedelta(seconds=CODE_KEPT_S),
        })  # fmt: skip

    async def code(self, text: str, client_id: str) -> Code | None:
        """Returns the client's code without using it."""
        found = await self._codes.find_one({"_id": hashed(text), "client_id": client_id})
        return _code(found) if found else None

    async def use_code(self, code: str, client_id: str) -> tuple[Code, int, str] | None:
        """Returns the code, how often it had been used, and the session that it gave, if any."""
        mine = {"_id": hashed(code), "client_id": client_id}
        found = await self._codes.find_one_and_update(mine, {"$inc": {"uses": 1}})
        return (_code(found), found["uses"], found.get("session_id", "")) if found else None

    async def gave(self, code_id: str, session_id: str) -> bool:
        """Keeps which session the code gave; False when it has been used again meanwhile."""
        change = {"$set": {"session_id": session_id}}
        found = await self._codes.find_one_and_update({"_id": code_id}, change)
        return found is not None and found["uses"] == 1

    async def forget(self, user_id: str) -> None:
        mine = {"user_id": ObjectId(user_id)}
        await self._logins.delete_many(mine)
        await self._codes.delete_many(mine)


def _pair(user_id: str, client_id: str) -> Document:
    return {"user": ObjectId(user_id), "client": client_id}


def _client(document: Document) -> Client:
    return Client(
        str(document["_id"]), document["name"], tuple(document["redirect_uris"]),
        frozenset(document["scopes"]), frozenset(document["grants"]), document["created_at"],
        document["secret_hash"],
    )  # fmt: skip


def _code(document: Document) -> Code:
    return Code(
        document["_id"], str(document["user_id"]), document["challenge"], document["auth_time"],
        document["expires_at"], document["client_id"], document["redirect_uri"],
        frozenset(document["scopes"]), document["nonce"],
    )  # fmt: skip

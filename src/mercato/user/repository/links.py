"""Which account an identity at an outside provider belongs to."""

from datetime import datetime

from bson import ObjectId

from mercato.platform.mongo import Document, Store
from mercato.user.model.sign_in import Identity
from mercato.user.repository.oauth import LINKS


class MongoLinks:
    """The collection `oauth_links`; an identity is linked once and stays so."""

    def __init__(self, store: Store) -> None:
        self._links = store[LINKS]

    async def user_of(self, identity: Identity) -> str | None:
        found = await self._links.find_one({"_id": _key(identity)})
        return str(found["user_id"]) if found else None

    async def link(self, identity: Identity, user_id: str, at: datetime) -> None:
        first = {"$setOnInsert": {"user_id": ObjectId(user_id), "at": at}}
        await self._links.update_one({"_id": _key(identity)}, first, upsert=True)


def _key(identity: Identity) -> Document:
    return {"issuer": identity.issuer, "subject": identity.subject}

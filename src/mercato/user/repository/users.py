"""Accounts in MongoDB, one call a transaction; profiles, never a hash, in Redis."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bson import ObjectId
from pymongo import IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.read_concern import ReadConcern

from mercato.events import UserChanged, UserRegistered
from mercato.kernel.errors import Conflict
from mercato.platform import outbox, telemetry
from mercato.platform.cache import Cache
from mercato.platform.fold import Fold
from mercato.platform.mongo import Document, Session, Shape, Store
from mercato.platform.outbox import Outbox, Row
from mercato.user.model.account import (
    Profile,
    User,
    UserNotFound,
    normal_email,
    taken,
    username_key,
)
from mercato.user.model.letters import FORGOTTEN
from mercato.user.repository.documents import (
    FIELDS,
    PROFILE,
    REQUIRED,
    letter_rows,
    profile_of,
    user_document,
    user_of,
)

USERS: Final = "users"
OUTBOX: Final = "user_outbox"

_DUPLICATE_KEY = 11000

SHAPES: Final = {
    USERS: Shape(
        schema={"bsonType": "object", "required": REQUIRED, "properties": FIELDS},
        indexes=(
            IndexModel([("links.token_hash", 1)], name="links", sparse=True),
            IndexModel([("email", 1)], name="email", unique=True),
            IndexModel([("username_key", 1)], name="username", unique=True),
        ),
    ),
    OUTBOX: outbox.SHAPE,
}


@dataclass(frozen=True, slots=True)
class _Addition:
    """A new account and what is told of it, in the trace of the call that asked for it."""

    user: User
    rows: Sequence[Row]


class MongoUsers:
    """The collection `users`; concurrent registrations share a transaction."""

    def __init__(self, store: Store, rows: Outbox, cache: Cache) -> None:
        self._store = store
        self._users = store[USERS]
        self._outbox = rows
        self._cache = cache
        self._add: Fold[_Addition, None] = Fold(self._add_group)

    async def add(self, user: User) -> None:
        """Adds `user`, its fact and its letters; raises EmailTaken, UsernameTaken."""
        who = user.profile
        fact = UserRegistered(user_id=who.id, username=who.username)
        await self._add(_Addition(user, (outbox.tell(fact), *letter_rows(user))))

    async def get(self, user_id: str) -> User:
        """Returns the account with its hash; raises UserNotFound."""
        return _found(await self._users.find_one({"_id": ObjectId(user_id)}))

    async def by_login(self, login: str) -> User | None:
        """Returns whose e-mail address or username `login` is; no username has an `@`."""
        if "@" in login:
            document = await self._users.find_one({"email": normal_email(login)})
        else:
            document = await self._users.find_one({"username_key": username_key(login)})
        return user_of(document) if document else None

    async def by_link(self, token_hash: str) -> User | None:
        """Returns whose link has this token."""
        document = await self._users.find_one({"links.token_hash": token_hash})
        return user_of(document) if document else None

    async def profiles(self, ids: Sequence[str]) -> dict[str, Profile]:
        """Returns the profiles of those of `ids` that there are."""
        cached = await self._cache.get_many([_key(user_id) for user_id in ids], Profile)
        found = {profile.id: profile for profile in cached.values()}
        missing = [ObjectId(user_id) for user_id in ids if user_id not in found]
        if missing:
            documents = self._users.find({"_id": {"$in": missing}}, PROFILE)
            fresh = [profile_of(document) async for document in documents]
            await self._remember(fresh)
            found |= {profile.id: profile for profile in fresh}
        return found

    async def update(self, user_id: str, change: Callable[[User], None]) -> User:
        """Applies `change` in a transaction, and with it sends the letters that it calls for.

        Raises UserNotFound, EmailTaken, UsernameTaken, and what `change` raises.
        """
        identity = {"_id": ObjectId(user_id)}

        async def body(session: Session) -> User:
            user = _found(await self._users.find_one(identity, session=session))
            before, version = user_document(user), user.profile.version
            change(user)
            if (after := user_document(user)) != before:
                await self._users.replace_one(identity, after, session=session)
            told = [_changed(user.profile)] if user.profile.version != version else []
            await self._outbox.add([*told, *letter_rows(user)], session)
            return user

        try:
            user = await self._store.transaction(body)
        except DuplicateKeyError:
            user = await self.get(user_id)
            change(user)
            raise await self._taken(user.profile) from None
        self._outbox.told_soon()
        await self._remember([user.profile])
        return user

    async def rehash(self, user: User, password_hash: str) -> None:
        """Stores a better hash of the same password, unless the password has changed."""
        same = {"_id": ObjectId(user.profile.id), "password_hash": user.password_hash}
        await self._users.update_one(same, {"$set": {"password_hash": password_hash}})

    async def note_forgotten(self, email: str) -> None:
        """Notes, durably, that somebody wants a new password for `email`, once for all who ask."""
        name = hashlib.sha256(email.encode()).hexdigest()[:24]
        row = outbox.mail(name, FORGOTTEN, {"email": email}, stale={})

        async def body(session: Session) -> None:
            await self._outbox.add_again([row], session)

        await self._store.transaction(body)
        self._outbox.told_soon()

    async def _remember(self, profiles: Sequence[Profile]) -> None:
        await self._cache.put_many({_key(who.id): (who.version, who) for who in profiles})

    async def _add_group(self, group: list[_Addition]) -> Sequence[Exception | None]:
        try:
            await self._commit(group)
        except BulkWriteError as failure:
            if not _is_duplicate(failure):
                raise
            return [await self._add_alone(addition) for addition in group]
        return [None] * len(group)

    async def _add_alone(self, addition: _Addition) -> Exception | None:
        try:
            await self._commit([addition])
        except BulkWriteError as failure:
            return await self._taken(addition.user.profile) if _is_duplicate(failure) else failure
        except Exception as failure:  # noqa: BLE001 - handed on to this one's caller
            return failure
        return None

    async def _commit(self, group: list[_Addition]) -> None:
        documents = [user_document(addition.user) for addition in group]
        rows = [row for addition in group for row in addition.rows]

        async def body(session: Session) -> None:
            await self._users.insert_many(documents, ordered=False, session=session)
            await self._outbox.add(rows, session)

        await self._store.transaction(body)
        telemetry.GROUP_SIZE.labels(USERS).observe(len(group))
        self._outbox.told_soon()

    async def _taken(self, who: Profile) -> Conflict:
        """Returns the refusal for what a unique index has refused: every field, not the first."""
        email, key = who.email, username_key(who.username)
        in_the_way = {"$or": [{"email": email}, {"username_key": key}]}
        others = in_the_way | {"_id": {"$ne": ObjectId(who.id)}}
        # the index knows of what is not yet majority-committed: look with the same eyes
        local = self._users.with_options(read_concern=ReadConcern("local"))
        found = await local.find(others, {"email": 1, "username_key": 1}).to_list()
        return taken(
            email=any(document["email"] == email for document in found),
            username=any(document["username_key"] == key for document in found),
        )


def _key(user_id: str) -> str:
    return f"user:{user_id}"


def _changed(who: Profile) -> Row:
    fact = UserChanged(user_id=who.id, version=who.version)
    return outbox.tell(fact, stale={_key(who.id): who.version})


def _is_duplicate(failure: BulkWriteError) -> bool:
    errors = (failure.details or {}).get("writeErrors", ())
    return any(error["code"] == _DUPLICATE_KEY for error in errors)


def _found(document: Document | None) -> User:
    if document is None:
        raise UserNotFound("there is no such user")
    return user_of(document)

"""Accounts as MongoDB keeps them, and their letters as rows of the outbox."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from bson import ObjectId

from mercato.kernel.identity import new_id
from mercato.platform.mongo import Document
from mercato.platform.outbox import Row
from mercato.user.model.account import Profile, User, username_key
from mercato.user.model.letters import Template
from mercato.user.model.links import Link, Purpose
from mercato.user.model.second_factor import Factor

_TEXT: Final = {"bsonType": "string"}
_NUMBER: Final = {"bsonType": ["int", "long"], "minimum": 0}
_HASH: Final = _TEXT | {"pattern": "^[0-9a-f]{64}$"}
_LINK: Final = {
    "purpose": {"enum": list(Purpose)},
    "token_hash": _HASH,
    "at": {"bsonType": "date"},
    "email": _TEXT,
}
_FACTOR: Final = {
    "sealed": _TEXT,
    "recovery": {"bsonType": "array", "items": _HASH},
    "confirmed": {"bsonType": "bool"},
    "step": _NUMBER,
    "failures": _NUMBER,
    "failed_at": {"bsonType": ["date", "null"]},
}
_ALWAYS: Final = {
    "_id": {"bsonType": "objectId"},
    "email": _TEXT | {"pattern": "^[^A-Z@]+@[^A-Z@]+$", "maxLength": 254},
    "username": _TEXT | {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{2,31}$"},
    "username_key": _TEXT | {"pattern": "^[a-z0-9_.-]{3,32}$"},
    "role": {"enum": ["customer", "admin"]},
    "password_hash": _TEXT | {"pattern": r"^\$(argon2|2[abxy]\$)"},
    "created_at": {"bsonType": "date"},
    "version": {"bsonType": ["int", "long"], "minimum": 1},
}
REQUIRED: Final = list(_ALWAYS)
FIELDS: Final[Document] = _ALWAYS | {
    "email_verified": {"bsonType": "bool"},
    "links": {
        "bsonType": "array",
        "items": {"bsonType": "object", "required": list(_LINK), "properties": _LINK},
    },
    "factor": {"bsonType": "object", "required": list(_FACTOR), "properties": _FACTOR},
}
# What a profile is made from: nothing that proves anything.
PROFILE: Final = dict.fromkeys(
    ("username", "email", "role", "created_at", "version", "email_verified"), 1
)


def user_of(document: Document) -> User:
    found = document.get("links", ())
    links = [Link(**link | {"purpose": Purpose(link["purpose"])}) for link in found]
    return User(
        profile_of(document),
        document["password_hash"],
        {link.purpose: link for link in links},
        _factor_of(document["factor"]) if "factor" in document else None,
    )


def profile_of(document: Document) -> Profile:
    return Profile(
        str(document["_id"]), document["username"], document["email"], document["role"],
        document["created_at"], document["version"], document.get("email_verified", False),
    )  # fmt: skip


def user_document(user: User) -> Document:
    who = user.profile
    optional: Document = {}
    if user.links:
        optional["links"] = [asdict(link) for link in user.links.values()]
    if user.factor is not None:
        optional["factor"] = asdict(user.factor) | {"recovery": list(user.factor.recovery)}
    return {
        "_id": ObjectId(who.id), "email": who.email, "email_verified": who.email_verified,
        "username": who.username, "username_key": username_key(who.username), "role": who.role,
        "password_hash": user.password_hash, "created_at": who.created_at,
        "version": who.version, **optional,
    }  # fmt: skip


def letter_rows(user: User) -> Iterator[Row]:
    """Yields the rows of the account's letters; a link stands in them as the id of its request.

    Of the welcome there is one for each account for ever, of the others one for each occasion.
    """
    who = user.profile
    for letter in user.letters:
        name = str(letter.template)
        if letter.template is not Template.WELCOME:
            name += f"-{letter.request or new_id()}"
        payload = {"to_email": letter.to_email, "username": who.username}
        payload |= {"request": letter.request} if letter.request else {}
        yield Row(f"{who.id}:{name}", "mail", who.id, payload, str(letter.template))


def _factor_of(document: Document) -> Factor:
    return Factor(**document | {"recovery": tuple(document["recovery"])})

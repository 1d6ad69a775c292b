"""Ids of things (24 hex digits, MongoDB's ObjectId) and of those who act on them."""

import itertools
import re
import secrets
from dataclasses import dataclass
from typing import Final, Literal, get_args

from mercato.kernel import clock

Role = Literal["customer", "admin", "service", "client"]
Service = Literal["gateway", "user", "inventory", "order", "mailer", "audit", "cli"]
# Who may be allowed something: users by their role, each of our services by its name.
Party = Literal["customer", "admin"] | Service
SERVICES: Final[frozenset[str]] = frozenset(get_args(Service))

_ID = re.compile(r"[0-9a-f]{24}")
_PROCESS = secrets.token_bytes(5)
_COUNTER = itertools.count(secrets.randbelow(1 << 24))


def new_id() -> str:
    """Returns a new id in time order: 4 bytes of seconds, 5 of the process, 3 of a counter.

    The layout is the one of https://github.com/mongodb/specifications (bson-objectid).
    """
    counter = (next(_COUNTER) & 0xFFFFFF).to_bytes(3, "big")
    return (clock.seconds().to_bytes(4, "big") + _PROCESS + counter).hex()


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a user by id, one of our services by name, or a registered client by its id.

    `session` is the user's sign-in that the token belongs to. `scopes` are those of a token that
    somebody else's program got by OAuth; without any the caller may do whatever the role may.
    """

    id: str
    role: Role
    session: str = ""
    scopes: frozenset[str] = frozenset()

    @property
    def rules(self) -> bool:
        """Whether the caller may act on everybody's things."""
        return self.role in ("admin", "service")

    @property
    def party(self) -> str:
        """What permissions know the caller as; empty for a service that is none of ours."""
        if self.role == "service":
            return self.id if self.id in SERVICES else ""
        return self.role

    def owns(self, user_id: str) -> bool:
        return self.rules or self.id == user_id

    def __str__(self) -> str:
        return f"{self.role}:{self.id}"

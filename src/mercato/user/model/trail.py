"""Security events: what is written down of logins, refusals and the deeds of admins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, get_args

from mercato.kernel.identity import new_id
from mercato.kernel.redaction import redacted

Kind = Literal[
    "login.failed", "login.succeeded", "lockout", "token.reuse", "session.ended",
    "permission.refused", "admin.action", "password.changed", "password.reset", "totp.enabled",
    "totp.disabled", "client.registered", "client.removed", "key.rotated", "rate.limited",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

# What a stranger can cause without end: told a moment later, alike ones as one with a number.
FOLDED: Final[frozenset[Kind]] = frozenset(
    ("login.failed", "login.succeeded", "lockout", "permission.refused", "rate.limited")
)

DETAILS_MAX: Final = 12
NAME_LENGTH_MAX: Final = 40
VALUE_LENGTH_MAX: Final = 300
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityEvent:
    """Something that whoever looks into misuse wants to know; it happened `count` times.

    `user_id` is whose account it is about, `actor` who did it (`admin:<id>`, `service:<name>`),
    `address` where from. There are no secrets in it.
    """

    id: str
    at: datetime
    kind: Kind
    user_id: str = ""
    actor: str = ""
    address: str = ""
    detail: Mapping[str, str]
    count: int = 1

    @classmethod
    def new(
        cls,
        kind: Kind,
        at: datetime,
        *,
        user_id: str = "",
        actor: str = "",
        address: str = "",
        detail: Mapping[str, str],
    ) -> "SecurityEvent":
        """Returns a new event, its strangers' text short, on one line and without secrets."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of security event")
        told = list(detail.items())[:DETAILS_MAX]
        return cls(
            id=new_id(), at=at, kind=kind, user_id=_plain(user_id), actor=_plain(actor),
            address=_plain(address),
            detail={
                _plain(name, NAME_LENGTH_MAX).replace(".", "_").replace("$", "_"): _plain(
                    str(redacted(value, name))
                )
                for name, value in told
            },
        )  # fmt: skip

    @property
    def likeness(self) -> tuple[str, ...]:
        """Events with the same are alike: their number says as much as they do."""
        told = ("method", "route", "status", "class", "reason", "login")
        return (
            self.kind, self.user_id, self.actor, self.address,
            *(self.detail.get(name, "") for name in told),
        )  # fmt: skip

    def anonymous(self) -> "SecurityEvent":
        """Returns what is left to say when there are too many different ones."""
        detail = {"note": "too many to tell one by one"}
        return replace(self, user_id="", actor="", address="", detail=detail)

    def times(self, count: int) -> "SecurityEvent":
        return replace(self, count=self.count * count)


def _plain(text: str, length_max: int = VALUE_LENGTH_MAX) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text[:length_max])

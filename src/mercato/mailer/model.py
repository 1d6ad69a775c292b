"""A mail: what it says, and the states of its way out.

NEW -> DOT (written before the final dot goes out) -> SENT; back to NEW after trouble that passes,
FAILED after a refusal for good. A DOT that nobody can answer for is PARKED: it may have been
sent, so it goes out again only when somebody has looked and it is not there. A person may have a
FAILED one sent again, once what it failed by is mended.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mercato.kernel.money import Money

BACK_OFF_S: Final = 1.0  # then 2, 4, 8 and so on
BACK_OFF_S_MAX: Final = 60.0
GIVE_UP_AFTER: Final = timedelta(days=5)  # RFC 5321, 4.5.4.1


class State(StrEnum):
    """How far a mail has come; SENT is the end, and FAILED unless a person steps in."""

    NEW = "NEW"
    DOT = "DOT"
    SENT = "SENT"
    PARKED = "PARKED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A mail that somebody wrote: sent exactly as given."""

    subject: str
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an order."""

    name: str
    quantity: int
    unit_price: Money

    @property
    def total(self) -> Money:
        return self.unit_price.times(self.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as its mails tell of it; `reason` is why it was cancelled (`out_of_stock`)."""

    id: str
    lines: tuple[Line, ...]
    total: Money
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Templated:
    """A mail that a template writes; the order templates need an order.

    `link` is where its button leads, sealed: it lets its reader into the account.
    """

    template: str
    username: str
    order: Order | None = None
    link: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail in the queue; `lease` is the token of whoever is at work on it.

    The queue gives it its Message-ID (without brackets), the same for ever.
    """

    id: str
    to_email: str
    content: Written | Templated
    created_at: datetime
    attempts: int = 0
    message_id: str = ""
    lease: str = ""

    def may_wait(self, now: datetime) -> bool:
        """Whether trouble that passes is worth another attempt."""
        return now - self.created_at < GIVE_UP_AFTER

    @property
    def back_off_s(self) -> float:
        """How long after this attempt the next one follows: 1, 2, 4 ... 60 seconds."""
        return float(min(BACK_OFF_S * 2 ** min(self.attempts, 10), BACK_OFF_S_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A mail that waits for a person; `since` is when it came into the queue."""

    id: str
    message_id: str
    to: str
    state: State
    reason: str
    attempts: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt, as the state that it leads to, and why."""

    state: State
    reason: str = ""


def as_it_is(link: str, mail_id: str) -> str:
    """Returns a link that nobody seals."""
    return link


def message_id(mail_id: str, domain: str) -> str:
    """Returns the Message-ID (without brackets) of a mail: always the same, and only its own.

    A colon becomes a dot; whatever else an address may not have becomes `_` and its code in hex.
    """
    local = re.sub(
        r"[^A-Za-z0-9-]", lambda c: "." if c[0] == ":" else f"_{ord(c[0]):02x}_", mail_id
    )
    return f"{local}@{domain}"

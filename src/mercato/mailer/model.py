"""A mail: what it says, the states of its way out, and what may stand in its head.

NEW -> DOT (written before the final dot goes out) -> SENT; back to NEW after trouble that passes,
FAILED after a refusal for good. A DOT that nobody can answer for is PARKED: it may have been
sent, so it goes out again only when somebody has looked and it is not there. A person may have a
FAILED one sent again, once what it failed by is mended.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mercato.kernel.errors import Violation
from mercato.kernel.money import Money

BACK_OFF_S: Final = 1.0  # then 2, 4, 8 and so on
BACK_OFF_S_MAX: Final = 60.0
GIVE_UP_AFTER: Final = timedelta(days=5)  # RFC 5321, 4.5.4.1

ADDRESS_CHARACTERS_MAX: Final = 254
LOCAL_PART_CHARACTERS_MAX: Final = 64

# What ends a header line or looks like one to somebody: C0, DEL, C1, the Unicode line ends, and
# halves of characters. This Python folds some of them into new headers (CVE-2024-6923).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ENCODED_WORD = "=?"  # RFC 2047: a reader would decode it into anything at all
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"({_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?"
)


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


def head_violations(to_email: str, subject: str) -> Iterator[Violation]:
    """Yields what forbids these two to stand in a mail's head."""
    if problem := _problem(to_email) or _address_problem(to_email):
        yield Violation("to_email", problem)
    if problem := _problem(subject):
        yield Violation("subject", problem)


def _problem(text: str) -> str:
    if _CONTROL.search(text):
        return "must have no control characters and no line breaks"
    if _ENCODED_WORD in text:
        return f"must not contain {_ENCODED_WORD!r}"
    return ""


def _address_problem(address: str) -> str:
    found = _ADDRESS.fullmatch(address)
    if not found or len(address) > ADDRESS_CHARACTERS_MAX:
        return "must be one e-mail address, like somebody@shop.example"
    if len(found[1]) > LOCAL_PART_CHARACTERS_MAX:
        return f"must have at most {LOCAL_PART_CHARACTERS_MAX} characters before the @"
    return ""

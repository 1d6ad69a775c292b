"""Mailed links: whoever holds one has read the account's mail; each works once, and not for long.

A link's token is made from the id of its request by a key, so that it can be made again when the
mail is handed over, and no outbox has to keep it. The account keeps the token's SHA-256 alone.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mercato.kernel.errors import Exhausted, Invalid, Violation

# What else may wait, a mail to somebody who did not ask for it: at most one each PAUSE.
PAUSE: Final = timedelta(minutes=1)


class Purpose(StrEnum):
    """What a link is for; an account has at most one of each, the last."""

    VERIFY = "verify"
    RESET = "reset"


LIFETIME: Final = {Purpose.VERIFY: timedelta(hours=24), Purpose.RESET: timedelta(hours=1)}


class InvalidLink(Invalid):
    """The token was never given, has been used, was replaced by a newer one, or is too old."""


class AskedTooSoon(Exhausted):
    """Such a mail went out a moment ago."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A link that is to be mailed: the id that its token is made from, and the token's hash."""

    request: str
    token_hash: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """What an account keeps of a mailed link, and the address that it was mailed to."""

    purpose: Purpose
    token_hash: str
    at: datetime
    email: str

    def opens(self, token_hash: str, now: datetime) -> bool:
        fits = hmac.compare_digest(self.token_hash, token_hash)
        return fits and now < self.at + LIFETIME[self.purpose]


class LinkKey:
    """Makes the tokens of links, 256 bits each, by a key of its own derived from `secret`."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"mercato mailed links", "sha256")

    def ticket(self, now: datetime) -> Ticket:
        """Returns a new link to be mailed."""
        request = secrets.token_hex(16)
        return Ticket(request, hash_of(self.token(request)), now)

    def token(self, request: str) -> str:
        """Returns the token of a link, the same for the same request."""
        made = hmac.digest(self._key, request.encode(), "sha256")
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def hash_of(token: str) -> str:
    """Returns what is kept of a token, or of a recovery code."""
    return hashlib.sha256(token.encode()).hexdigest()


def invalid_link(*further: Violation) -> InvalidLink:
    detail = "is used up, too old, or was replaced by a newer one"
    return InvalidLink("the link is not good any more", [Violation("token", detail), *further])

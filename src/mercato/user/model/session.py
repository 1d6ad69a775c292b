"""A session: one sign-in on one device, kept alive by refresh tokens that each serve once.

A refresh token is 256 random bits, of which only a SHA-256 is kept. In front of them it names its
session and its place in the session's row of tokens, and a tag at its end shows that it was once
ours, so that an old token that comes back is told from noise without a record of every old token.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from mercato.kernel.client import Client
from mercato.kernel.errors import NotFound, Unauthenticated
from mercato.kernel.identity import new_id

ABSOLUTE: Final = timedelta(days=30)  # then one signs in again, whatever happened meanwhile
IDLE: Final = timedelta(days=14)
GRACE: Final = timedelta(seconds=10)  # an answer may be lost: so long a token may come again

Device = Client  # where a sign-in came from, as its owner may recognise it

_PREFIX: Final = "mrt_"  # lets people and scanners know one when they see it
_FORM: Final = struct.Struct(">12sI32s16s")  # session id, place, secret, tag
_TEXT_LENGTH: Final = len(_PREFIX) + -(-_FORM.size * 4 // 3)


class SessionOver(Unauthenticated):
    """The refresh token is none of ours, too old or used up: one has to sign in again."""


class SessionNotFound(NotFound):
    """There is no such session, or it is somebody else's."""


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A token that carries our tag; `secret` proves that it is the session's `place`th."""

    session_id: str
    place: int
    secret: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.secret).digest()


class RefreshTokens:
    """Makes refresh tokens and knows its own, by keys that are derived from `secret`."""

    def __init__(self, secret: str) -> None:
        self._tag_key = _derived(secret, b"mercato refresh token tag")
        self._successor_key = _derived(secret, b"mercato refresh token successor")

    def first(self, session_id: str) -> RefreshToken:
        return RefreshToken(session_id, 0, secrets.token_bytes(32))

    def successor(self, token: RefreshToken) -> RefreshToken:
        """Returns the token that follows on `token`, the same one every time.

        So a lost answer can be given again, and still nothing but hashes is kept.
        """
        secret = hmac.digest(self._successor_key, _plain(token), "sha256")
        return RefreshToken(token.session_id, token.place + 1, secret)

    def written(self, token: RefreshToken) -> str:
        data = _plain(token) + self._tag(token)
        return _PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def read(self, text: str) -> RefreshToken:
        """Returns the token that `text` is; raises SessionOver when it never was one of ours."""
        if len(text) != _TEXT_LENGTH or not text.startswith(_PREFIX):
            raise _over()
        body = text.removeprefix(_PREFIX)
        try:
            data = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _over() from None
        session_id, place, secret, tag = _FORM.unpack(data)
        token = RefreshToken(session_id.hex(), place, secret)
        if not hmac.compare_digest(tag, self._tag(token)) or self.written(token) != text:
            raise _over()
        return token

    def _tag(self, token: RefreshToken) -> bytes:
        return hmac.digest(self._tag_key, _plain(token), "sha256")[:16]


@dataclass(slots=True)
class Session:
    """One sign-in. `place` and `hash` are those of the one refresh token that is good now."""

    id: str
    user_id: str
    device: Device
    client_id: str
    scopes: tuple[str, ...]
    place: int
    hash: bytes = field(repr=False)
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None

    @classmethod
    def new(
        cls, user_id: str, device: Device, client_id: str, scopes: tuple[str, ...], now: datetime
    ) -> "Session":
        """Returns a session that has no refresh token yet."""
        return cls(new_id(), user_id, device, client_id, scopes, 0, b"", now, now, now + IDLE)

    def accept(self, token: RefreshToken) -> None:
        """Makes `token` the one that is good now."""
        self.place, self.hash = token.place, token.hash

    def lives(self, now: datetime) -> bool:
        return self.ended_at is None and now < self.expires_at

    def is_current(self, token: RefreshToken) -> bool:
        return token.place == self.place and hmac.compare_digest(token.hash, self.hash)

    def is_repeated(self, token: RefreshToken, successor: RefreshToken, now: datetime) -> bool:
        """Whether `token` was exchanged for the present one a moment ago."""
        return (
            token.place == self.place - 1
            and hmac.compare_digest(successor.hash, self.hash)
            and now < self.refreshed_at + GRACE
        )

    def is_used_up(self, token: RefreshToken) -> bool:
        """Whether `token`, which carries our tag, was this session's before the present one."""
        return token.place < self.place

    def rotate(self, successor: RefreshToken, device: Device, now: datetime) -> None:
        self.accept(successor)
        self.device = device if device.address or device.agent else self.device
        self.refreshed_at = now
        self.expires_at = min(now + IDLE, self.created_at + ABSOLUTE)


def _over() -> SessionOver:
    return SessionOver("the refresh token is not valid: sign in again")


def _derived(secret: str, purpose: bytes) -> bytes:
    """Returns a key of its own for a purpose (HKDF-Expand, RFC 5869, of one block)."""
    return hmac.digest(secret.encode(), purpose + b"\x01", "sha256")


def _plain(token: RefreshToken) -> bytes:
    return bytes.fromhex(token.session_id) + struct.pack(">I", token.place) + token.secret

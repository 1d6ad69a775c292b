"""What stands between a login and a token: tickets, authorization codes, sign-in codes."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mercato.user.model.oauth import AuthorizationRequest, InvalidGrant, hashed, proves

CODE_TTL_S: Final = 60
TICKET_TTL_S: Final = 600
# A code is remembered so long, so that its second use is known for one.
CODE_KEPT_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Code:
    """A code for one use within CODE_TTL_S; of our own front ends when it has no client."""

    id: str  # its hash
    user_id: str
    challenge: str
    auth_time: datetime
    expires_at: datetime
    client_id: str = ""
    redirect_uri: str = ""
    scopes: frozenset[str] = frozenset()
    nonce: str = ""

    @classmethod
    def new(
        cls,
        user_id: str,
        auth_time: datetime,
        now: datetime,
        challenge: str,
        request: AuthorizationRequest | None = None,
        scopes: frozenset[str] = frozenset(),
    ) -> tuple["Code", str]:
        """Returns the code to keep, and the text that is given out."""
        text = secrets.token_urlsafe(32)
        until = now + timedelta(seconds=CODE_TTL_S)
        if request is None:
            return cls(hashed(text), user_id, challenge, auth_time, until), text
        code = cls(
            hashed(text), user_id, challenge, auth_time, until,
            request.client_id, request.redirect_uri, scopes, request.nonce,
        )  # fmt: skip
        return code, text

    def redeem(self, redirect_uri: str, verifier: str, now: datetime) -> None:
        """Raises InvalidGrant unless this is what the code was given for, and in time."""
        if now >= self.expires_at:
            raise InvalidGrant("the code has expired")
        if redirect_uri != self.redirect_uri:
            raise InvalidGrant("the redirect_uri is not the one of the authorization request")
        if not proves(verifier, self.challenge):
            raise InvalidGrant("the code_verifier does not fit the code_challenge")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Proof of a login for one authorization request in one browser, for one use."""

    id: str  # its hash
    user_id: str
    auth_time: datetime
    expires_at: datetime
    bound_to: str

    @classmethod
    def new(
        cls, user_id: str, request: AuthorizationRequest, browser: str, now: datetime
    ) -> tuple["Ticket", str]:
        """Returns the ticket to keep, and the text that is given out."""
        text = secrets.token_urlsafe(32)
        until = now + timedelta(seconds=TICKET_TTL_S)
        return cls(hashed(text), user_id, now, until, binding(request, browser)), text


def binding(request: AuthorizationRequest, browser: str) -> str:
    """Returns what a ticket is bound to: the request, and the browser by its own secret."""
    return hashed(f"{request.digest}\n{browser}")

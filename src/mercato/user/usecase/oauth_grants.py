"""The token endpoint: a client turns a code, a refresh token or its own name into tokens."""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from mercato.kernel.errors import Invalid, Unauthenticated
from mercato.kernel.scopes import CLIENT_SCOPES
from mercato.user.model.oauth import (
    CODE,
    OWN,
    REFRESH,
    Client,
    InvalidGrant,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedTokenType,
    at_hash,
)
from mercato.user.model.oauth_codes import Code
from mercato.user.model.session import Device, SessionNotFound, SessionOver
from mercato.user.usecase.oauth import Clients
from mercato.user.usecase.oauth_codes import Redemption
from mercato.user.usecase.sessions import Granted, Sessions

ID_TOKEN_TTL_S: Final = 900


@dataclass(frozen=True, slots=True)
class Proof:
    """What a client proves itself with; a public one has no secret."""

    client_id: str
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token request; what a grant does not need is empty."""

    grant: str
    code: str = field(default="", repr=False)
    redirect_uri: str = ""
    verifier: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What a grant comes to; an empty text was not given. Lifetimes in seconds."""

    access_token: str = field(repr=False)
    expires_in: int
    scopes: Collection[str] = ()
    refresh_token: str = field(default="", repr=False)
    refresh_expires_in: int = 0
    id_token: str = field(default="", repr=False)


class Mint(Protocol):
    @property
    def access_ttl_s(self) -> int: ...

    def client(self, client_id: str, scopes: Collection[str]) -> str:
        """Returns an access token of the client's own."""
        ...

    @property
    def algorithm(self) -> str: ...

    def identity(self, claims: Mapping[str, Any]) -> str:
        """Returns `claims` signed with `algorithm`, for a client to verify by our public keys."""
        ...

    def claims(self, token: str) -> Mapping[str, Any]:
        """Returns what an access token says; raises Unauthenticated when it is none of ours."""
        ...


class Grants:
    """Who proves to be a client gets what it was granted, and can give it back."""

    def __init__(
        self,
        issuer: str,
        clients: Clients,
        redemption: Redemption,
        sessions: Sessions,
        mint: Mint,
        clock: Callable[[], datetime],
    ) -> None:
        self._issuer = issuer
        self._clients = clients
        self._redemption = redemption
        self._sessions = sessions
        self._mint = mint
        self._clock = clock

    async def exchange(self, proof: Proof, wanted: Wanted, device: Device) -> Given:
        """Returns what the grant comes to.

        Raises InvalidClient, UnauthorizedClient, UnsupportedGrantType, InvalidGrant, InvalidScope.
        """
        client = await self._clients.proven(proof.client_id, proof.secret)
        grants = {CODE: self._by_code, REFRESH: self._by_refresh, OWN: self._own}
        if wanted.grant not in grants:
            raise UnsupportedGrantType(f"grant_type must be one of {', '.join(grants)}")
        client.insist(wanted.grant)
        return await grants[wanted.grant](client, wanted, device)

    async def _by_code(self, client: Client, wanted: Wanted, device: Device) -> Given:
        code, granted = await self._redemption.redeem(
            wanted.code, wanted.verifier, device, client.id, wanted.redirect_uri
        )
        id_token = self._id_token(client, granted, code)
        # a refresh token is for those who asked to work while the user is away
        away = "offline_access" in code.scopes and REFRESH in client.grants
        return given(granted, refreshable=away, id_token=id_token)

    async def _by_refresh(self, client: Client, wanted: Wanted, device: Device) -> Given:
        scopes = client.allowed(wanted.scope) if wanted.scope else ()
        try:
            granted = await self._sessions.refresh(
                wanted.refresh_token, device, client_id=client.id, scopes=scopes
            )
        except SessionOver as refusal:
            raise InvalidGrant(refusal.detail) from None
        except Invalid as refusal:
            raise InvalidScope(refusal.detail) from None
        return given(granted)

    async def _own(self, client: Client, wanted: Wanted, device: Device) -> Given:
        mine = " ".join(client.scopes & CLIENT_SCOPES)
        scopes = client.allowed(wanted.scope or mine, own=True)
        return Given(self._mint.client(client.id, scopes), self._mint.access_ttl_s, scopes)

    def _id_token(self, client: Client, granted: Granted, code: Code) -> str:
        if "openid" not in code.scopes:
            return ""
        now = int(self._clock().timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer, "sub": granted.user_id, "aud": client.id, "iat": now,
            "exp": now + ID_TOKEN_TTL_S, "auth_time": int(code.auth_time.timestamp()),
            "at_hash": at_hash(granted.access_token, self._mint.algorithm),
        }  # fmt: skip
        claims |= {"nonce": code.nonce} if code.nonce else {}
        return self._mint.identity(claims)

    async def revoke(self, proof: Proof, token: str) -> None:
        """Ends the session that a client's access or refresh token belongs to (RFC 7009).

        Nothing happens for a token that is none of the client's. Raises InvalidClient, and
        UnsupportedTokenType for a token in the client's own name, which has no session.
        """
        client = await self._clients.proven(proof.client_id, proof.secret)
        said = await self._said(client, token)
        if said and not said.get("sid"):
            raise UnsupportedTokenType("a token in the client's own name ends by itself")
        if said:
            with contextlib.suppress(SessionNotFound):
                await self._sessions.end(said["sid"], said["sub"])

    async def introspect(self, proof: Proof, token: str) -> Mapping[str, Any]:
        """Returns what a client's own token says while it is good, else nothing (RFC 7662).

        Raises InvalidClient, UnauthorizedClient for a public client.
        """
        client = await self._clients.proven(proof.client_id, proof.secret)
        if client.public:
            raise UnauthorizedClient("only a client with a secret may ask about tokens")
        said = await self._said(client, token)
        alive = not said.get("sid") or await self._sessions.living(said["sid"])
        return said if alive else {}

    async def _said(self, client: Client, token: str) -> Mapping[str, Any]:
        """Returns what a token of `client` says, whether or not its session has ended."""
        try:
            session = await self._sessions.by_token(token, client_id=client.id)
        except SessionOver:
            pass
        else:
            return {
                "sid": session.id, "sub": session.user_id, "client_id": session.client_id,
                "scope": " ".join(session.scopes), "exp": int(session.expires_at.timestamp()),
                "iat": int(session.refreshed_at.timestamp()), "token_type": "refresh_token",
            }  # fmt: skip
        try:
            claims = self._mint.claims(token)
        except Unauthenticated:
            return {}
        return {**claims, "token_type": "Bearer"} if claims.get("client_id") == client.id else {}


def given(granted: Granted, *, refreshable: bool = True, id_token: str = "") -> Given:
    """Returns what a client, or a front end of ours, gets of a session."""
    return Given(
        granted.access_token, granted.expires_in, granted.scopes,
        granted.refresh_token if refreshable else "",
        granted.refresh_expires_in if refreshable else 0, id_token,
    )  # fmt: skip

"""Authorization: a client asks, the user logs in and consents, the client gets a code."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from mercato.kernel.errors import Forbidden, Invalid, NotFound
from mercato.kernel.identity import Caller
from mercato.user.model.account import OPERATOR, Profile
from mercato.user.model.oauth import (
    AccessDenied,
    AuthorizationRequest,
    Client,
    InvalidClient,
    registered,
)
from mercato.user.model.oauth_codes import Code, Ticket, binding
from mercato.user.usecase.trail import Recorder


class ClientNotFound(NotFound):
    """There is no client of this id."""


class LoginExpired(Invalid):
    """The login was too long ago, or for something else: log in again."""


class Registered(Protocol):
    async def add(self, client: Client) -> None: ...

    async def get(self, client_id: str) -> Client | None: ...

    async def all(self) -> Sequence[Client]: ...

    async def remove(self, client_id: str) -> Client | None:
        """Removes the client with the consents and codes that it has; returns it as it was."""
        ...


class Asked(Protocol):
    async def keep_code(self, code: Code) -> None: ...

    async def keep_ticket(self, ticket: Ticket) -> None: ...

    async def take_ticket(self, ticket: str) -> Ticket | None:
        """Returns what is kept of `ticket`, which is gone with that."""
        ...

    async def consented(self, user_id: str, client_id: str) -> frozenset[str]: ...

    async def consent(
        self, user_id: str, client_id: str, scopes: frozenset[str], at: datetime
    ) -> None:
        """Adds `scopes` to those that the user allows the client."""
        ...


class Login(Protocol):
    async def __call__(self, login: str, password: str, second_factor: str, /) -> Profile:
        """Returns who this is; raises WrongCredentials, and what asks for a second factor."""
        ...


class Clients:
    """Programs that may ask; the operator alone makes them."""

    def __init__(self, clients: Registered, trail: Recorder, clock: Callable[[], datetime]) -> None:
        self._clients = clients
        self._trail = trail
        self._clock = clock

    async def add(
        self,
        asking: Caller,
        name: str,
        redirect_uris: Sequence[str],
        *,
        public: bool,
        scopes: Sequence[str],
        grants: Sequence[str],
    ) -> tuple[Client, str]:
        """Returns the new client and its secret; raises Forbidden, Invalid."""
        _insist_on_operator(asking)
        client, secret = registered(
            name, redirect_uris, public=public, scopes=scopes, grants=grants, now=self._clock()
        )
        await self._clients.add(client)
        detail = {"client_id": client.id, "name": name}
        await self._trail.record("client.registered", actor=str(asking), detail=detail)
        return client, secret

    async def all(self, asking: Caller) -> Sequence[Client]:
        """Returns every client; raises Forbidden."""
        _insist_on_operator(asking)
        return await self._clients.all()

    async def remove(self, asking: Caller, client_id: str) -> Client:
        """Returns the client, which can do nothing any more; raises Forbidden, ClientNotFound."""
        _insist_on_operator(asking)
        client = await self._clients.remove(client_id)
        if client is None:
            raise ClientNotFound("there is no such client")
        detail = {"client_id": client.id, "name": client.name}
        await self._trail.record("client.removed", actor=str(asking), detail=detail)
        return client

    async def proven(self, client_id: str, secret: str) -> Client:
        """Returns the client that `secret` proves; raises InvalidClient."""
        client = await self._clients.get(client_id)
        if client is None:
            raise InvalidClient("the client or its secret is wrong")
        client.prove(secret)
        return client


class Authorizations:
    """The steps of one authorization; nothing is kept until somebody has logged in."""

    def __init__(
        self, clients: Registered, asked: Asked, login: Login, clock: Callable[[], datetime]
    ) -> None:
        self._clients = clients
        self._asked = asked
        self._login = login
        self._clock = clock

    async def begin(self, request: AuthorizationRequest) -> tuple[Client, frozenset[str]]:
        """Returns who asks and for what.

        Raises UnknownClient and WrongRedirectUri, after which nobody may be redirected; and
        every refusal of `AuthorizationRequest.granted`.
        """
        client = request.redirectable(await self._clients.get(request.client_id))
        return client, request.granted(client)

    async def log_in(
        self,
        request: AuthorizationRequest,
        browser: str,
        login: str,
        password: str,
        second_factor: str,
    ) -> tuple[Profile, str, str]:
        """Returns who it is, and a code when they have consented before, else a ticket.

        Raises what `begin` and the login raise.
        """
        client, scopes = await self.begin(request)
        who = await self._login(login, password, second_factor)
        allowed = await self._asked.consented(who.id, client.id)
        if scopes <= allowed and "consent" not in request.prompt.split():
            return who, await self._code(request, who.id, self._clock(), scopes), ""
        kept, ticket = Ticket.new(who.id, request, browser, self._clock())
        await self._asked.keep_ticket(kept)
        return who, "", ticket

    async def decide(
        self, request: AuthorizationRequest, browser: str, ticket: str, *, allowed: bool
    ) -> str:
        """Returns the code; raises AccessDenied, LoginExpired and what `begin` raises."""
        client, scopes = await self.begin(request)
        kept = await self._asked.take_ticket(ticket)
        bound = kept is not None and kept.bound_to == binding(request, browser)
        if kept is None or not bound or kept.expires_at <= self._clock():
            raise LoginExpired("the login has expired: begin again")
        if not allowed:
            raise AccessDenied("the user said no")
        await self._asked.consent(kept.user_id, client.id, scopes, self._clock())
        return await self._code(request, kept.user_id, kept.auth_time, scopes)

    async def _code(
        self,
        request: AuthorizationRequest,
        user_id: str,
        auth_time: datetime,
        scopes: frozenset[str],
    ) -> str:
        code, text = Code.new(
            user_id, auth_time, self._clock(), request.code_challenge, request, scopes
        )
        await self._asked.keep_code(code)
        return text


def _insist_on_operator(asking: Caller) -> None:
    if asking != OPERATOR:
        raise Forbidden("clients are registered by the operator's command line")

"""/api/sessions: where one is signed in, staying signed in, and signing out."""

from typing import Annotated, Protocol

import grpc
from msgspec import Meta

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.revocations import Revocations
from mercato.gateway.shapes import EXAMPLE_ID, Answer, IdOrCurrent, Parameters, Request, text
from mercato.kernel.errors import NotFound
from mercato.kernel.identity import Caller
from mercato.pb import session_pb2, session_pb2_grpc
from mercato.platform.rpc import Channels

_DATE_TIME = Meta(extra_json_schema={"format": "date-time"})


class RefreshRequest(Request, frozen=True):
    refresh_token: Annotated[str, text(1024, min_length=1)]


class ByIdOrCurrent(Parameters, frozen=True):
    id: IdOrCurrent


class SignedIn(Answer, frozen=True):
    """The token goes with every other call; the refresh token gets the next pair of both."""

    token: str
    token_type: str
    expires_in: Annotated[int, Meta(description="Seconds.", examples=[900])]
    message: str
    refresh_token: str
    refresh_expires_in: Annotated[int, Meta(description="Seconds.", examples=[1209600])]


class Session(Answer, frozen=True):
    id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    current: Annotated[bool, Meta(description="Whether this is the session that asks.")]
    address: Annotated[str, Meta(description="Where it was last refreshed from.")]
    agent: Annotated[str, Meta(description="What the program there calls itself.")]
    client_id: Annotated[str, Meta(description="Empty, or the program that acts for you.")]
    scopes: list[str]
    created_at: Annotated[str, _DATE_TIME]
    refreshed_at: Annotated[str, _DATE_TIME]
    expires_at: Annotated[str, _DATE_TIME]


class SessionList(Answer, frozen=True):
    sessions: list[Session]


class SignedOut(Answer, frozen=True):
    ended: Annotated[int, Meta(description="How many sessions were ended.")]
    message: str


class _Granted(Protocol):
    """What every way to sign in is answered, beside the token."""

    expires_in: int
    refresh_token: str
    refresh_expires_in: int


def signed_in(token: str, granted: _Granted, message: str) -> Reply:
    return reply(
        SignedIn(
            token, "Bearer", granted.expires_in, message,
            granted.refresh_token, granted.refresh_expires_in,
        )
    )  # fmt: skip


class Sessions:
    """Where one is signed in, and for how long yet."""

    def __init__(
        self, channels: Channels, channel: grpc.aio.Channel, revocations: Revocations
    ) -> None:
        self._channels = channels
        self._sessions = session_pb2_grpc.SessionServiceStub(channel)
        self._revocations = revocations

    @operation("POST", "/api/sessions/refresh", Who.ANYONE, SignedIn, refusals=[401, 409])
    async def refresh(self, body: RefreshRequest) -> Reply:
        """Get a fresh token, and the refresh token that replaces the one sent.

        Each refresh token serves once. When the answer is lost, send the same one again within 10
        seconds: it is answered the same. Later it counts as stolen, and ends the session.
        """
        request = session_pb2.RefreshSessionRequest(refresh_token=body.refresh_token)
        granted = await self._channels.call(self._sessions.RefreshSession, request)
        return signed_in(granted.token, granted, "The session goes on.")

    @operation("GET", "/api/sessions", Who.USER, SessionList)
    async def list(self, caller: Caller) -> Reply:
        """List where one is signed in, the last used first."""
        request = session_pb2.ListSessionsRequest()
        answer = await self._channels.call(self._sessions.ListSessions, request, speaks_for=caller)
        found = [_session(each, caller.session) for each in answer.sessions]
        return reply(SessionList(found))

    @operation("DELETE", "/api/sessions/{id}", Who.USER, SignedOut)
    async def end(self, caller: Caller, path: ByIdOrCurrent) -> Reply:
        """Sign out here (`current`), or on another device.

        Its tokens are refused everywhere within a second.
        """
        session_id = caller.session if path.id == "current" else path.id.lower()
        if not session_id:
            raise NotFound("this token belongs to no session")
        request = session_pb2.EndSessionRequest(id=session_id)
        await self._channels.call(self._sessions.EndSession, request, speaks_for=caller)
        self._revocations.add(session_id)
        return reply(SignedOut(1, "You are signed out there."))

    @operation("DELETE", "/api/sessions", Who.USER, SignedOut)
    async def end_all(self, caller: Caller) -> Reply:
        """Sign out everywhere, here too."""
        request = session_pb2.EndAllSessionsRequest()
        answer = await self._channels.call(
            self._sessions.EndAllSessions, request, speaks_for=caller
        )
        if caller.session:
            self._revocations.add(caller.session)
        return reply(SignedOut(answer.ended, "You are signed out everywhere."))


def _session(info: session_pb2.SessionInfo, current: str) -> Session:
    return Session(
        info.id, info.id == current, info.address, info.agent, info.client_id, list(info.scopes),
        info.created_at, info.refreshed_at, info.expires_at,
    )  # fmt: skip

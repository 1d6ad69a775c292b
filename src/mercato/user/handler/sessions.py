"""The gRPC methods of sessions, and who may call them."""

from datetime import UTC, datetime
from typing import Any, Final

from mercato.kernel.clock import rfc3339
from mercato.kernel.identity import Party
from mercato.pb import session_pb2 as pb
from mercato.pb.session_pb2_grpc import SessionServiceServicer
from mercato.platform.rpc import caller, client_of_call
from mercato.user.model.session import Session
from mercato.user.usecase.sessions import Sessions

_SIGNED_IN: Final[frozenset[Party]] = frozenset(("customer", "admin"))
ALLOWED: Final[dict[str, frozenset[Party]]] = {
    "RefreshSession": frozenset(("gateway",)),
    "ListSessions": _SIGNED_IN,
    "EndSession": _SIGNED_IN,
    "EndAllSessions": _SIGNED_IN,
    "ListRevocations": frozenset(("gateway",)),
}


class SessionHandler(SessionServiceServicer):
    """Each method is one verb of `Sessions`; the user is who asks."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def RefreshSession(
        self, request: pb.RefreshSessionRequest, context: Any
    ) -> pb.SessionTokens:
        granted = await self._sessions.refresh(request.refresh_token, client_of_call())
        return pb.SessionTokens(
            token=granted.access_token, expires_in=granted.expires_in,
            refresh_token=granted.refresh_token, refresh_expires_in=granted.refresh_expires_in,
        )  # fmt: skip

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: Any
    ) -> pb.ListSessionsResponse:
        found = await self._sessions.of(caller().id)
        return pb.ListSessionsResponse(sessions=[_message(session) for session in found])

    async def EndSession(
        self, request: pb.EndSessionRequest, context: Any
    ) -> pb.EndSessionResponse:
        address = client_of_call().address
        await self._sessions.end(request.id, caller().id, address=address)
        return pb.EndSessionResponse()

    async def EndAllSessions(
        self, request: pb.EndAllSessionsRequest, context: Any
    ) -> pb.EndAllSessionsResponse:
        address = client_of_call().address
        ended = await self._sessions.end_all(caller().id, address=address)
        return pb.EndAllSessionsResponse(ended=ended)

    async def ListRevocations(
        self, request: pb.ListRevocationsRequest, context: Any
    ) -> pb.ListRevocationsResponse:
        at = datetime.fromtimestamp(request.after_ms / 1000, UTC) if request.after_ms else None
        ended = await self._sessions.revoked_since(at, request.after_id)
        return pb.ListRevocationsResponse(
            revocations=[
                pb.Revocation(session_id=each.id, ended_ms=_ms(each.ended_at)) for each in ended
            ]
        )


def _ms(at: datetime | None) -> int:
    return 0 if at is None else round(at.timestamp() * 1000)


def _message(session: Session) -> pb.SessionInfo:
    return pb.SessionInfo(
        id=session.id, address=session.device.address, agent=session.device.agent,
        client_id=session.client_id, created_at=rfc3339(session.created_at),
        refreshed_at=rfc3339(session.refreshed_at), expires_at=rfc3339(session.expires_at),
        scopes=session.scopes,
    )  # fmt: skip

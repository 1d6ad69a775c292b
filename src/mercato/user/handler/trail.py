"""The gRPC methods of the trail: services add to it, admins and the operator read it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from mercato.kernel.clock import rfc3339
from mercato.kernel.errors import Invalid, Violation
from mercato.kernel.identity import Party
from mercato.pb import security_pb2 as pb
from mercato.pb.security_pb2_grpc import SecurityServiceServicer
from mercato.user.model.trail import Kind, SecurityEvent
from mercato.user.usecase.trail import Search, Trail

ALLOWED: Final[dict[str, frozenset[Party]]] = {
    "RecordEvents": frozenset(("gateway", "cli")),
    "ListEvents": frozenset(("admin", "cli")),
}

LIMIT: Final = 50


class SecurityHandler(SecurityServiceServicer):
    """Events of others into the trail, and the trail to those who may read it."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    async def RecordEvents(
        self, request: pb.RecordEventsRequest, context: Any
    ) -> pb.RecordEventsResponse:
        await self._trail.receive([_event(each) for each in request.events])
        return pb.RecordEventsResponse()

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Any
    ) -> pb.ListEventsResponse:
        limit = request.limit or LIMIT
        since = _time("since", request.since) if request.since else None
        search = Search(
            kind=request.kind, user_id=request.user_id, since=since, before=request.cursor,
            limit=limit + 1,
        )  # fmt: skip
        found = await self._trail.find(search)
        more = found[limit - 1].id if len(found) > limit else ""
        events = [_message(event) for event in found[:limit]]
        return pb.ListEventsResponse(events=events, next_cursor=more)


def _event(message: pb.SecurityEvent) -> SecurityEvent:
    event = SecurityEvent.new(
        cast(Kind, message.kind), _time("at", message.at), user_id=message.user_id,
        actor=message.actor, address=message.address, detail=message.detail,
    )  # fmt: skip
    return replace(event, id=message.id, count=message.count)


def _time(field: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        violation = Violation(field, "must be a time as RFC 3339 has it")
        raise Invalid(f"{field} is no time", [violation])
    return at.astimezone(UTC)


def _message(event: SecurityEvent) -> pb.SecurityEvent:
    return pb.SecurityEvent(
        id=event.id, at=rfc3339(event.at), kind=event.kind, user_id=event.user_id,
        actor=event.actor, address=event.address, detail=event.detail, count=event.count,
    )  # fmt: skip

"""/api/security: what has happened that looks like misuse, for admins."""

from typing import Annotated, Final, Literal

import grpc
from msgspec import Meta

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import EXAMPLE_ID, Answer, IdOrNone, Parameters
from mercato.kernel.identity import Caller
from mercato.pb import security_pb2
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform.rpc import Channels

KIND: Final = (
    "`login.failed`, `permission.refused`, `admin.action` and others: docs/security.md lists them."
)
KindOrNone = Literal[
    "", "login.failed", "login.succeeded", "lockout", "token.reuse", "session.ended",
    "permission.refused", "admin.action", "password.changed", "password.reset", "totp.enabled",
    "totp.disabled", "client.registered", "client.removed", "key.rotated", "rate.limited",
]  # fmt: skip


class EventListing(Parameters, frozen=True):
    kind: Annotated[KindOrNone, Meta(description=KIND)] = ""
    user_id: Annotated[IdOrNone, Meta(description="Whose account it is about.")] = ""
    cursor: Annotated[IdOrNone, Meta(description="The `next_cursor` of the page before.")] = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class SecurityEvent(Answer, frozen=True):
    id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    kind: Annotated[str, Meta(description=KIND, examples=["login.failed"])]
    user_id: Annotated[str, Meta(description="Whose account it is about; empty if nobody's.")]
    actor: Annotated[str, Meta(description="Who did it.", examples=[f"admin:{EXAMPLE_ID}"])]
    address: Annotated[str, Meta(description="Where from.", examples=["203.0.113.7"])]
    count: Annotated[int, Meta(description="How often within seconds.", examples=[1])]
    detail: dict[str, str]


class EventPage(Answer, frozen=True):
    events: list[SecurityEvent]
    next_cursor: Annotated[str, Meta(description="Empty: that was the last page.")]


class Security:
    """Failed logins, refused permissions, deeds of admins: added to, and never changed."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._trail = SecurityServiceStub(channel)

    @operation("GET", "/api/security/events", Who.ADMIN, EventPage)
    async def browse(self, caller: Caller, query: EventListing) -> Reply:
        """List security events, newest first."""
        request = security_pb2.ListEventsRequest(
            kind=query.kind, user_id=query.user_id.lower(), cursor=query.cursor.lower(),
            limit=query.limit,
        )  # fmt: skip
        found = await self._channels.call(self._trail.ListEvents, request, speaks_for=caller)
        return reply(EventPage([_event(each) for each in found.events], found.next_cursor))


def _event(event: security_pb2.SecurityEvent) -> SecurityEvent:
    return SecurityEvent(
        event.id, event.at, event.kind, event.user_id, event.actor, event.address, event.count,
        dict(event.detail),
    )  # fmt: skip

"""What the gateway tells the trail of security events: refusals, gathered, and the deeds of admins.

An admin's change is told before it is answered, when the user service has room for it within a
second; refusals, which strangers can cause without end, are gathered and told every few seconds.
"""

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
from litestar.types import ASGIApp, Message, Receive, Send
from prometheus_client import Counter

from mercato.gateway.client import CLIENT_KEY
from mercato.gateway.limits import covering
from mercato.gateway.operation import CALLER_KEY, ROLE_KEY
from mercato.kernel import clock
from mercato.kernel.errors import AppError
from mercato.kernel.identity import is_id, new_id
from mercato.kernel.tally import Tally
from mercato.pb import security_pb2 as pb
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform import telemetry
from mercato.platform.fold import Fold
from mercato.platform.rpc import Channels

GATHER_S: Final = 5.0
TELL_S_MAX: Final = 1.0
DIFFERENT_MAX: Final = 256
LATE_MAX: Final = 2_000
BATCH_MAX: Final = 200

LOST = Counter("mercato_security_events_lost_total", "Events that there was no room to keep.")

_SAFE: Final = ("GET", "HEAD", "OPTIONS")
# Where somebody else's thing is "not found": who asks for many of them is looking for some.
_OWNED: Final = ("/api/users/", "/api/orders/")
_TEXT: Final = re.compile(r"[^\x20-\x7e]")

log = structlog.get_logger()


class Reporter:
    """Tells events to the user service, which keeps them; what it cannot take now, later."""

    def __init__(self, channels: Channels, stub: SecurityServiceStub) -> None:
        self._channels = channels
        self._stub = stub
        self._tell: Fold[pb.SecurityEvent, None] = Fold(
            self._told, size_max=BATCH_MAX, waiting_max=LATE_MAX
        )
        self._gathered: Tally[pb.SecurityEvent] = Tally(DIFFERENT_MAX)
        self._late: deque[pb.SecurityEvent] = deque()

    async def now(self, event: pb.SecurityEvent) -> None:
        """Tells `event`; when that takes too long, or others wait already, it is told later."""
        if self._late:
            return self._postpone(event)
        try:
            async with asyncio.timeout(TELL_S_MAX):
                await self._tell(event)
        except (AppError, TimeoutError):
            self._postpone(event)

    def soon(self, kind: str, scope: Any, status: int, headers: Any) -> None:
        """Gathers an event with those that are like it."""
        key = (
            kind, scope.get(CALLER_KEY, ""), scope[CLIENT_KEY].address, scope["method"],
            _route(scope), status,
        )  # fmt: skip
        event = partial(_event, kind, scope, status, headers)
        self._gathered.add(key, event, coarse_key=(kind,), coarse=_anonymous)

    async def run(self) -> None:
        """Tells what is gathered, every GATHER_S seconds; `flush` once more at the end."""
        while True:
            await asyncio.sleep(GATHER_S)
            await self.flush()

    async def flush(self) -> None:
        """Tells what is gathered and what is late; keeps what could not be told."""
        for event, count in self._gathered.take():
            event.count = count
            self._postpone(event)
        while self._late:
            batch = [self._late.popleft() for _ in range(min(len(self._late), BATCH_MAX))]
            try:
                await self._told(batch)
            except AppError as refusal:
                self._late.extendleft(reversed(batch))
                log.warning("security events wait", why=refusal.slug, count=len(self._late))
                return

    def _postpone(self, event: pb.SecurityEvent) -> None:
        if len(self._late) >= LATE_MAX:
            LOST.inc(self._late.popleft().count)
        self._late.append(event)

    async def _told(self, events: Sequence[pb.SecurityEvent]) -> list[Exception | None]:
        # Each has its id already: told twice, it is kept once.
        request = pb.RecordEventsRequest(events=events)
        await self._channels.call(self._stub.RecordEvents, request)
        return [None] * len(events)


class Watch:
    """Wraps `app`: sees what is refused and what admins do, and has it reported."""

    def __init__(self, app: ASGIApp, reporter: Reporter) -> None:
        self._app = app
        self._reporter = reporter

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
                if scope.get(ROLE_KEY) == "admin" and scope["method"] not in _SAFE:
                    await self._reporter.now(_event("admin.action", scope, status, headers))
                elif status == 429:
                    self._reporter.soon("rate.limited", scope, status, headers)
                elif status == 403 or (status == 404 and _sought(scope)):
                    self._reporter.soon("permission.refused", scope, status, headers)
            await send(message)

        await self._app(scope, receive, answer)


def _sought(scope: Any) -> bool:
    return CALLER_KEY in scope and str(scope.get("path_template", "")).startswith(_OWNED)


def _event(kind: str, scope: Any, status: int, headers: Any) -> pb.SecurityEvent:
    trace = telemetry.current()
    user_id, role = scope.get(CALLER_KEY, ""), scope.get(ROLE_KEY, "")
    detail = {
        "method": scope["method"],
        "route": _route(scope),
        "status": str(status),
        "object": _object(scope, headers),
        "request_id": trace.request_id if trace else "",
    }
    return pb.SecurityEvent(
        id=new_id(), at=clock.rfc3339(clock.now()), kind=kind,
        user_id=user_id if is_id(user_id) else "", actor=f"{role}:{user_id}" if user_id else "",
        address=scope[CLIENT_KEY].address,
        detail={name: _plain(value) for name, value in detail.items() if value}, count=1,
    )  # fmt: skip


def _route(scope: Any) -> str:
    return str(scope.get("path_template") or covering(scope["method"], scope["path"]))


def _object(scope: Any, headers: Any) -> str:
    """Returns what the request was about: the thing in its path, or the one it has made."""
    named = scope.get("path_params") or {}
    made = next((v.decode("latin-1") for k, v in headers if k.lower() == b"location"), "")
    return str(named.get("id", "")) or made.rpartition("/")[2]


def _anonymous(event: pb.SecurityEvent) -> pb.SecurityEvent:
    note = {"note": "too many to tell one by one"}
    return pb.SecurityEvent(id=event.id, at=event.at, kind=event.kind, detail=note, count=1)


def _plain(text: str) -> str:
    return _TEXT.sub("?", text[:300])

"""Sessions that have ended while an access token of theirs has not expired yet."""

import asyncio
from typing import Final

import grpc
import structlog

from mercato.kernel.errors import AppError
from mercato.pb import session_pb2, session_pb2_grpc
from mercato.platform.memory import Memory
from mercato.platform.rpc import Channels
from mercato.platform.tokens import ACCESS_TTL_S

EVERY_S: Final = 0.5
DEADLINE_S: Final = 1.0
# Asked again each time: what was committed late, or by the clock of another primary.
OVERLAP_MS: Final = 10_000
PAGE: Final = 1000
KNOWN_MAX: Final = 500_000  # at some 100 bytes each

log = structlog.get_logger()


class Revocations:
    """The ids of ended sessions, as the user service tells; while it is away, what is known."""

    def __init__(self) -> None:
        self._ended: Memory[str, bool] = Memory(size_max=KNOWN_MAX, ttl_s=ACCESS_TTL_S + 60)
        self._until_ms = 0
        self._deaf = False

    def __contains__(self, session_id: object) -> bool:
        return isinstance(session_id, str) and self._ended.get(session_id) is not None

    def add(self, session_id: str) -> None:
        self._ended.put(session_id, True)

    async def follow(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        """Asks for news until cancelled."""
        while True:
            await self.look(channels, channel)
            await asyncio.sleep(EVERY_S)

    async def look(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        """Takes in what has ended since the last time; at first, all that matters yet."""
        sessions = session_pb2_grpc.SessionServiceStub(channel)
        request = session_pb2.ListRevocationsRequest(after_ms=max(0, self._until_ms - OVERLAP_MS))
        try:
            while True:
                answer = await channels.call(
                    sessions.ListRevocations, request, deadline_s=DEADLINE_S
                )
                for each in answer.revocations:
                    self.add(each.session_id)
                    self._until_ms = max(self._until_ms, each.ended_ms)
                if len(answer.revocations) < PAGE:
                    break
                last = answer.revocations[-1]
                request.after_ms, request.after_id = last.ended_ms, last.session_id
            self._deaf = False
        except AppError as refusal:
            if not self._deaf:
                log.warning("nobody tells which sessions have ended", why=refusal.slug)
            self._deaf = True

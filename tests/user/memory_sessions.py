"""Sessions without a database: what their repository must do, in dictionaries."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from mercato.user.model.session import Session


class MemorySessions:
    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    async def add(self, session: Session) -> None:
        self._sessions[session.id] = replace(session)

    async def get(self, session_id: str) -> Session | None:
        found = self._sessions.get(session_id)
        return None if found is None else replace(found)

    async def rotate(self, session: Session, before: int) -> bool:
        found = self._sessions[session.id]
        if found.place != before or found.ended_at is not None:
            return False
        self._sessions[session.id] = replace(session)
        return True

    async def end(self, session_id: str, user_id: str) -> bool:
        found = self._sessions.get(session_id)
        if found is None or found.user_id != user_id or found.ended_at is not None:
            return False
        found.ended_at = found.expires_at = self._clock()
        return True

    async def end_all(self, user_id: str, but: str) -> int:
        ids = [each.id for each in await self.of(user_id) if each.id != but]
        return sum([await self.end(session_id, user_id) for session_id in ids])

    async def of(self, user_id: str) -> Sequence[Session]:
        mine = [s for s in self._sessions.values() if s.user_id == user_id and s.ended_at is None]
        return sorted((replace(s) for s in mine), key=lambda s: s.refreshed_at, reverse=True)

    async def ended_since(self, at: datetime, after_id: str, limit: int) -> Sequence[Session]:
        ended = [(s.ended_at, s.id, s) for s in self._sessions.values() if s.ended_at is not None]
        return [s for when, i, s in sorted(ended) if (when, i) > (at, after_id)][:limit]

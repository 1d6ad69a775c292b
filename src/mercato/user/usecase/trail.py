"""The trail of security events: recorded by every part, read by admins, changed by nobody."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from mercato.kernel.client import Client
from mercato.kernel.tally import Tally
from mercato.user.model.trail import FOLDED, Kind, SecurityEvent

# A request waits so long for what is told of it; then it is told later.
WRITE_S_MAX: Final = 1.0
FOLD_S: Final = 5.0
DIFFERENT_MAX: Final = 256
LATE_MAX: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which events are wanted, newest first; empty leaves a thing open. `before` is an id."""

    kind: str = ""
    user_id: str = ""
    since: datetime | None = None
    before: str = ""
    limit: int = 50


class Events(Protocol):
    """Where events are kept; it can add and find, and nothing else."""

    async def add(self, events: Sequence[SecurityEvent]) -> None:
        """Adds those of `events` that are not there yet, by their ids."""
        ...

    async def find(self, search: Search) -> Sequence[SecurityEvent]: ...


class Recorder(Protocol):
    """What other use cases need of the trail."""

    async def record(
        self,
        kind: Kind,
        *,
        user_id: str = "",
        actor: str = "",
        address: str = "",
        detail: Mapping[str, str] = {},
    ) -> None: ...


class Trail:
    """Records events, before the answer or soon after it, and never fails who asks for it.

    What strangers can cause without end (`FOLDED`) is gathered for FOLD_S seconds, alike ones as
    one; the rest is written at once, and when that fails, with the next gathering. `tell` gets
    each event too, for the log; `client` says where from, when who records it does not.
    """

    def __init__(
        self,
        events: Events,
        now: Callable[[], datetime],
        tell: Callable[[SecurityEvent], None] = lambda event: None,
        client: Callable[[], Client] = Client,
    ) -> None:
        self._events = events
        self._now = now
        self._tell = tell
        self._client = client
        self._folded: Tally[SecurityEvent] = Tally(DIFFERENT_MAX)
        self._late: deque[SecurityEvent] = deque(maxlen=LATE_MAX)

    async def record(
        self,
        kind: Kind,
        *,
        user_id: str = "",
        actor: str = "",
        address: str = "",
        detail: Mapping[str, str] = {},
    ) -> None:
        """Records one event; raises only ValueError, for a kind that there is not."""
        address = address or self._client().address
        event = SecurityEvent.new(
            kind, self._now(), user_id=user_id, actor=actor, address=address, detail=detail
        )
        if kind in FOLDED:
            self._folded.add(
                event.likeness, lambda: event, coarse_key=(kind,), coarse=SecurityEvent.anonymous
            )
        else:
            await self.keep([event])

    async def keep(self, events: Sequence[SecurityEvent]) -> None:
        """Writes `events` now, or later when the database does not answer in WRITE_S_MAX."""
        for event in events:
            self._tell(event)
        if not await self._written(events):
            self._late.extend(events)

    async def receive(self, events: Sequence[SecurityEvent]) -> None:
        """Writes what another service tells, or raises: it then tells it again."""
        await self._events.add(events)
        for event in events:
            self._tell(event)

    async def find(self, search: Search) -> Sequence[SecurityEvent]:
        return await self._events.find(search)

    async def run(self) -> None:
        """Writes what is gathered, every FOLD_S seconds; `flush` once more at the end."""
        while True:
            await asyncio.sleep(FOLD_S)
            await self.flush()

    async def flush(self) -> None:
        """Writes what has been gathered, and what could not be written before."""
        late = list(self._late)
        self._late.clear()
        gathered = [event.times(count) for event, count in self._folded.take()]
        await self.keep(gathered)
        if late and not await self._written(late):
            self._late.extendleft(reversed(late))

    async def _written(self, events: Sequence[SecurityEvent]) -> bool:
        if not events:
            return True
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await self._events.add(events)
        except Exception:  # noqa: BLE001 - what is recorded has happened: nobody fails for it
            return False
        return True

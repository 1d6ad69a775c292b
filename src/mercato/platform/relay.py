"""The relay: tells an outbox's rows until each is answered, whatever becomes of the broker.

A row is told at once from memory, without being looked for or marked. Whatever is still open when
it falls due, because its answer, its telling or its process was lost, is found and told again.

Urgent facts, other facts and mails have a relay each, so that an order waits for no import and for
no mailer. Any number of relays may run beside one another: everything told carries an id, and is
told twice at worst.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog
from pymongo import UpdateMany
from pymongo.errors import PyMongoError

from mercato.kernel.clock import monotonic, now
from mercato.platform import telemetry
from mercato.platform.bus import Bus, Letter
from mercato.platform.cache import Cache
from mercato.platform.outbox import CLOSING, Kind, Outbox, Row, next_of

POLL_S: Final = 0.5
BATCH_MAX: Final = 256
TELL_AGAIN_S: Final = 5.0  # then 10, 20, 40 and so on
TELL_AGAIN_S_MAX: Final = 60.0
AWAY_S: Final = 1.0  # the pause of a row that nobody takes, and of a relay without any taker
OVERDUE_S: Final = 120.0
MEASURE_S: Final = 5.0

log = structlog.get_logger()

# Hands rows to whom they are for; returns the ids of those that were taken.
Dispatch = Callable[[Sequence[Row]], Awaitable[set[str]]]


class Relay:
    """Tells the rows of one kind of an outbox, for ever."""

    def __init__(
        self, outbox: Outbox, cache: Cache, *, name: str, kind: Kind, dispatch: Dispatch
    ) -> None:
        self._outbox = outbox
        self._cache = cache
        self._name = name
        self._kind = kind
        self._dispatch = dispatch
        self._wake = outbox.wakes[kind]
        self._fresh = outbox.fresh[kind]
        self._done: list[str] = []  # rows that were taken from memory and are yet to be closed
        self._look_at = self._measured_at = 0.0

    async def run(self) -> None:
        while True:
            self._wake.clear()
            try:
                busy = await self.tell_fresh()
                if monotonic() >= self._look_at:
                    await self.close_taken()
                    busy |= await self.tell_due()
                await self._measure()
            except PyMongoError as failure:
                log.warning("outbox is away", outbox=self._name, failure=type(failure).__name__)
                busy = False
            if not busy:
                await self._rest()

    async def tell_fresh(self) -> bool:
        """Tells at most BATCH_MAX of the rows just committed; returns whether there are more.

        Those that are not taken, or not answered, tell their tale when they fall due. The others
        are closed together a moment later; whoever dies before that has them told twice.
        """
        rows = [self._fresh.popleft() for _ in range(min(len(self._fresh), BATCH_MAX))]
        taken = await self._dispatch(rows) if rows else set()
        self._done += [row.id for row in rows if _is_done(row, taken)]
        return len(self._fresh) > 0

    async def close_taken(self) -> None:
        """Closes what was taken from memory, unless it was told again meanwhile."""
        if self._done:
            still_first = {"_id": {"$in": self._done}, "emission": 1}
            still_open = still_first | {"not_before": {"$exists": True}}
            await self._outbox.rows.update_many(still_open, CLOSING)
            self._done = []

    async def tell_due(self) -> bool:
        """Tells at most BATCH_MAX due rows; returns whether there may be more to do at once."""
        self._look_at = monotonic() + POLL_S
        query = {"kind": self._kind, "not_before": {"$lte": now()}}
        found = self._outbox.rows.find(query).sort("not_before", 1).limit(BATCH_MAX)
        rows = [next_of(document) for document in await found.to_list()]
        if not rows:
            return False
        # whoever committed it may have died before the cache heard of it
        await self._cache.forget({key: v for row in rows for key, v in row.stale.items()})
        taken = await self._dispatch(rows)
        await self._outbox.rows.bulk_write(_marks(rows, taken), ordered=False)
        more = len(rows) == BATCH_MAX and len(taken) > 0
        if more:
            self._look_at = 0.0
        elif not taken:
            self._look_at = monotonic() + AWAY_S
        return more

    async def _rest(self) -> None:
        # not wait_for: before Python 3.12 it loses a cancellation that comes with the wake
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()

    async def _measure(self) -> None:
        if monotonic() < self._measured_at + MEASURE_S:
            return
        self._measured_at = monotonic()
        rows, label = self._outbox.rows, f"{self._name} {self._kind}"
        is_open: dict[str, Any] = {"kind": self._kind, "not_before": {"$exists": True}}
        oldest = await rows.find_one(is_open, {"created_at": 1}, sort=[("created_at", 1)])
        age_s = (now() - oldest["created_at"]).total_seconds() if oldest else 0.0
        overdue = is_open | {"created_at": {"$lt": now() - timedelta(seconds=OVERDUE_S)}}
        telemetry.OUTBOX_OLDEST.labels(label).set(max(age_s, 0.0))
        telemetry.OUTBOX_OPEN.labels(label).set(await rows.count_documents(is_open))
        telemetry.OUTBOX_ALARMS.labels(label).set(await rows.count_documents(overdue))


def to_bus(bus: Bus) -> Dispatch:
    """Returns what publishes facts: a row is taken once the stream says that it has it.

    The first time, one that is answered anyway needs no such word: its answer says more.
    """

    async def publish(rows: Sequence[Row]) -> set[str]:
        trusting = [row for row in rows if row.answered and row.emission == 1]
        asking = [row for row in rows if not (row.answered and row.emission == 1)]
        sent = await bus.send([_letter(row) for row in trusting])
        told = await bus.publish([_letter(row) for row in asking])
        taken = {row.id for row, there in zip(asking, told, strict=True) if there}
        return taken | {row.id for row in trusting if sent}

    return publish


def again_after_s(emission: int) -> float:
    """Returns how long after this emission the next one follows: 5, 10, 20, 40, 60, 60 ..."""
    return float(min(TELL_AGAIN_S * 2 ** min(emission - 1, 10), TELL_AGAIN_S_MAX))


def _marks(rows: Sequence[Row], taken: set[str]) -> list[UpdateMany]:
    """Closes what was taken and needs no answer; puts off the rest.

    A row that was closed meanwhile, or re-opened as its next emission, is left alone.
    """
    alike: dict[tuple[int, bool, bool], list[str]] = {}
    for row in rows:
        which = (row.emission, _is_done(row, taken), row.id in taken)
        alike.setdefault(which, []).append(row.id)
    return [
        UpdateMany(
            {"_id": {"$in": ids}, "emission": emission - 1, "not_before": {"$exists": True}},
            CLOSING if done else _putting_off(emission, told),
        )
        for (emission, done, told), ids in alike.items()
    ]


def _is_done(row: Row, taken: set[str]) -> bool:
    """Returns whether that it was taken ends it: it needs no answer."""
    return row.id in taken and not row.answered


def _putting_off(emission: int, told: bool) -> Mapping[str, Any]:
    pause_s = again_after_s(emission) if told else AWAY_S
    change: dict[str, Any] = {"$set": {"not_before": now() + timedelta(seconds=pause_s)}}
    if told:
        change["$set"]["state"] = "sent"
        change["$inc"] = {"emission": 1}
    return change


def _letter(row: Row) -> Letter:
    """Returns the row as a CloudEvent in binary mode (https://cloudevents.io, NATS binding)."""
    headers = {
        "Nats-Msg-Id": f"{row.id}:{row.emission}",
        "ce-id": row.id,
        "ce-type": row.subject,
        "ce-source": "/mercato",
        "ce-specversion": "1.0",
        "content-type": "application/json",
    }
    return Letter(row.subject, msgspec.json.encode(row.payload), headers | row.headers)

"""The outbox: facts and mails written in the transaction of the change that they tell of.

A row is closed by the business answer stored in our own database, never by the broker's word
(PROTOCOL, rule 0). Until then it is told again and again, each time as the next emission, at
growing intervals. Rows that nobody answers are closed once they were taken.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
import structlog
from pymongo import IndexModel, UpdateOne
from pymongo.errors import PyMongoError

from mercato.kernel.facts import Fact
from mercato.platform import telemetry
from mercato.platform.bus import Bus, Letter
from mercato.platform.cache import Cache
from mercato.platform.mongo import Collection, Document, Session, Shape

POLL_S: Final = 0.2
BATCH_MAX: Final = 256
TELL_AGAIN_S: Final = 5.0  # then 10, 20, 40 and so on
TELL_AGAIN_S_MAX: Final = 60.0
OVERDUE_S: Final = 120.0
CLOSED_KEPT_S: Final = 86_400

SHAPE: Final = Shape(
    indexes=(
        # a row has `not_before` as long as it is not closed
        IndexModel([("not_before", 1)], name="due", sparse=True),
        IndexModel([("closed_at", 1)], name="closed", expireAfterSeconds=CLOSED_KEPT_S),
    )
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Row:
    """Something to be told: a fact for the bus, or a mail for the mailer."""

    id: str
    kind: Literal["nats", "mail"]
    about: str
    payload: Document
    subject: str  # of a mail: its template
    answered: bool = False
    emission: int = 1
    headers: dict[str, str] = field(default_factory=lambda: _headers())
    # cache keys that must not show anything older than these versions
    stale: dict[str, int] = field(default_factory=dict)


def tell(fact: Fact, *, emission: int = 1, stale: Mapping[str, int] | None = None) -> Row:
    return Row(
        fact.id, "nats", fact.about, asdict(fact), fact.subject, fact.answered, emission,
        stale=dict(stale or {}),
    )  # fmt: skip


def mail(about: str, template: str, payload: Document, *, stale: Mapping[str, int]) -> Row:
    return Row(f"{about}:{template}", "mail", about, payload, template, True, stale=dict(stale))


class Outbox:
    """The rows of one service, and the wish to have them told soon."""

    def __init__(self, rows: Collection) -> None:
        self.rows = rows
        self.wake = asyncio.Event()

    async def add(self, rows: Iterable[Row], session: Session) -> None:
        """Adds new rows in the transaction of `session`; call `told_soon` once it has committed."""
        documents = [_document(row) for row in rows]
        if documents:
            await self.rows.insert_many(documents, ordered=False, session=session)

    async def add_again(self, rows: Iterable[Row], session: Session) -> None:
        """Adds rows, or re-opens those that are there with the next emission."""
        updates = [_reopening(row) for row in rows]
        if updates:
            await self.rows.bulk_write(updates, ordered=False, session=session)

    async def close(self, ids: Sequence[str], session: Session | None = None) -> None:
        """Closes the rows whose answer is stored (in the same transaction)."""
        if ids:
            await self.rows.update_many({"_id": {"$in": list(ids)}}, _CLOSING, session=session)

    def told_soon(self) -> None:
        self.wake.set()


# Hands rows to whom they are for; returns the ids of those that were taken.
Dispatch = Callable[[Sequence[Row]], Awaitable[set[str]]]


class Relay:
    """Tells the rows of an outbox; any number of relays may run beside one another."""

    def __init__(
        self, outbox: Outbox, bus: Bus, cache: Cache, *, name: str, mail: Dispatch | None = None
    ) -> None:
        self._outbox = outbox
        self._bus = bus
        self._cache = cache
        self._name = name
        self._mail = mail
        self._measured_at = 0.0

    async def run(self) -> None:
        while True:
            try:
                busy = await self.tell_due()
                await self._measure()
            except PyMongoError as failure:
                log.warning("outbox is away", outbox=self._name, failure=type(failure).__name__)
                busy = False
            if not busy:
                await self._rest()

    async def tell_due(self) -> bool:
        """Tells at most BATCH_MAX due rows; returns whether there may be more to do at once."""
        now = datetime.now(UTC)
        found = self._outbox.rows.find({"not_before": {"$lte": now}}).sort("not_before", 1)
        documents = await found.limit(BATCH_MAX).to_list()
        if not documents:
            return False
        rows = [_row(document) for document in documents]
        await self._cache.forget({key: v for row in rows for key, v in row.stale.items()})
        taken = await self._tell_facts([row for row in rows if row.kind == "nats"])
        mails = [row for row in rows if row.kind == "mail"]
        if mails and self._mail is not None:
            taken |= await self._mail(mails)
        await self._mark(rows, taken, now)
        return len(documents) == BATCH_MAX and len(taken) > 0

    async def _tell_facts(self, rows: Sequence[Row]) -> set[str]:
        if not rows:
            return set()
        told = await self._bus.publish([_letter(row) for row in rows])
        return {row.id for row, there in zip(rows, told, strict=True) if there}

    async def _mark(self, rows: Sequence[Row], taken: set[str], now: datetime) -> None:
        """Closes what was taken and needs no answer; puts off the rest.

        A row that was re-opened meanwhile has another emission and is left alone.
        """
        updates = []
        for row in rows:
            if row.id in taken and (row.kind == "mail" or not row.answered):
                change = _CLOSING
            elif row.id in taken:
                due = now + timedelta(seconds=again_after_s(row.emission))
                change = {"$set": {"state": "sent", "not_before": due}, "$inc": {"emission": 1}}
            else:
                due = now + timedelta(seconds=POLL_S)
                change = {"$set": {"not_before": due}}
            open_still = {"not_before": {"$exists": True}}
            updates.append(
                UpdateOne({"_id": row.id, "emission": row.emission} | open_still, change)
            )
        await self._outbox.rows.bulk_write(updates, ordered=False)

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._outbox.wake.wait(), POLL_S)
        except TimeoutError:
            return
        self._outbox.wake.clear()

    async def _measure(self) -> None:
        if time.monotonic() < self._measured_at + 5:
            return
        self._measured_at = time.monotonic()
        now = datetime.now(UTC)
        rows = self._outbox.rows
        is_open = {"not_before": {"$exists": True}}
        oldest = await rows.find_one(is_open, {"created_at": 1}, sort=[("created_at", 1)])
        age_s = (now - oldest["created_at"]).total_seconds() if oldest else 0.0
        late = is_open | {"created_at": {"$lt": now - timedelta(seconds=OVERDUE_S)}}
        telemetry.OUTBOX_OLDEST.labels(self._name).set(max(age_s, 0.0))
        telemetry.OUTBOX_OPEN.labels(self._name).set(await rows.count_documents(is_open))
        telemetry.OUTBOX_ALARMS.labels(self._name).set(await rows.count_documents(late))


def again_after_s(emission: int) -> float:
    """Returns how long after this emission the next one follows: 5, 10, 20, 40, 60, 60 ..."""
    return min(TELL_AGAIN_S * math.pow(2, min(emission - 1, 10)), TELL_AGAIN_S_MAX)


_CLOSING: Final[Mapping[str, Any]] = {
    "$set": {"state": "closed"},
    "$currentDate": {"closed_at": True},
    "$unset": {"not_before": ""},
}


def _headers() -> dict[str, str]:
    return {"ce-time": datetime.now(UTC).isoformat()} | telemetry.headers()


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


def _document(row: Row) -> Document:
    now = datetime.now(UTC)
    return {
        "_id": row.id, "kind": row.kind, "about": row.about, "subject": row.subject,
        "payload": row.payload, "answered": row.answered, "emission": row.emission,
        "headers": row.headers, "stale": row.stale, "state": "open",
        "created_at": now, "not_before": now,
    }  # fmt: skip


def _row(document: Document) -> Row:
    return Row(
        document["_id"], document["kind"], document["about"], document["payload"],
        document["subject"], document["answered"], document["emission"], document["headers"],
        document["stale"],
    )  # fmt: skip


def _reopening(row: Row) -> UpdateOne:
    document = _document(row)
    fresh = {k: document[k] for k in ("kind", "about", "subject", "answered", "created_at")}
    again = {k: document[k] for k in ("payload", "headers", "stale", "state", "not_before")}
    change = {"$setOnInsert": fresh, "$set": again, "$unset": {"closed_at": ""}}
    return UpdateOne({"_id": row.id}, change | {"$inc": {"emission": 1}}, upsert=True)

"""The outbox: facts and mails written in the transaction of the change that they tell of.

A row is closed by the business answer stored in our own database, never by the broker's word
(PROTOCOL, rule 0). Until then it is told again and again, each time as the next emission, at
growing intervals. Rows that nobody answers are closed once they were taken.

Where it counts, what has just been committed is handed to the relay in memory. The row itself then
falls due later: when it is answered in time, nobody ever looks for it, and when this process dies
or the broker is away, it is told then, by any copy.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec
from pymongo import IndexModel, UpdateOne

from mercato.kernel import clock
from mercato.kernel.facts import Fact
from mercato.platform import telemetry
from mercato.platform.mongo import Collection, Document, Session, Shape

CLOSED_KEPT_S: Final = 86_400
FRESH_MAX: Final = 10_000  # rows in memory; of more, the oldest wait until they are due

# How long a new row has for its answer: as long as answers take now, a few times over.
PATIENCE_S: Final = 5.0
PATIENCE_S_MAX: Final = 15.0
PATIENCE_FACTOR: Final = 3.0

SHAPE: Final = Shape(
    indexes=(
        # a row has `not_before` as long as it is not closed
        IndexModel(
            [("kind", 1), ("not_before", 1)],
            name="due",
            partialFilterExpression={"not_before": {"$exists": True}},
        ),
        # sparse: what is open has no entry that its closing would have to take away
        IndexModel(
            [("closed_at", 1)], name="closed", sparse=True, expireAfterSeconds=CLOSED_KEPT_S
        ),
    )
)

Kind = Literal["nats", "news", "mail"]  # urgent facts, other facts, mails
KINDS: Final[tuple[Kind, ...]] = ("nats", "news", "mail")


@dataclass(frozen=True, slots=True)
class Row:
    """Something to be told: a fact for the bus, or a mail for the mailer; as which emission."""

    id: str
    kind: Kind
    about: str
    payload: Document
    subject: str  # of a mail: its template
    answered: bool = False
    emission: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    # cache keys that must not show anything older than these versions
    stale: dict[str, int] = field(default_factory=dict)


def tell(
    fact: Fact,
    *,
    stale: Mapping[str, int] | None = None,
    trace: Mapping[str, str] | None = None,
) -> Row:
    """Returns the row that tells `fact`; `trace` is the request's, by default the current one."""
    kind: Kind = "nats" if fact.urgent else "news"
    return Row(
        fact.id, kind, fact.about, msgspec.to_builtins(fact), fact.subject, fact.answered,
        headers=_headers(trace), stale=dict(stale or {}),
    )  # fmt: skip


def mail(about: str, template: str, payload: Document, *, stale: Mapping[str, int]) -> Row:
    return Row(f"{about}:{template}", "mail", about, payload, template, stale=dict(stale))


class Outbox:
    """The rows of one service, and the wish to have them told soon."""

    def __init__(self, rows: Collection) -> None:
        self.rows = rows
        self.wakes: dict[Kind, asyncio.Event] = {kind: asyncio.Event() for kind in KINDS}
        self.fresh: dict[Kind, deque[Row]] = {kind: deque(maxlen=FRESH_MAX) for kind in KINDS}
        self._answers = _Answers()

    async def add(self, rows: Iterable[Row], session: Session, *, in_hand: bool = False) -> None:
        """Adds new rows in the transaction of `session`; call `told_soon` once it has committed.

        Rows `in_hand` are given to it then: they count as told once, and fall due later.
        """
        wait_s = self._answers.patience_s if in_hand else 0.0
        documents = [_document(row, int(in_hand), wait_s) for row in rows]
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
            self._answers.came(ids)
            still_open = {"_id": {"$in": list(ids)}, "not_before": {"$exists": True}}
            await self.rows.update_many(still_open, CLOSING, session=session)

    def told_soon(self, in_hand: Iterable[Row] = ()) -> None:
        """Has the rows `in_hand` told at once, and those looked for that are due.

        The cache must have forgotten by then what the rows `in_hand` make stale.
        """
        for row in in_hand:
            self.fresh[row.kind].append(row)
            if row.answered:
                self._answers.asked(row.id)
        for wake in self.wakes.values():
            wake.set()


class _Answers:
    """How long the answers take that this process waits for."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._usual_s = 0.0

    @property
    def patience_s(self) -> float:
        return min(max(PATIENCE_FACTOR * self._usual_s, PATIENCE_S), PATIENCE_S_MAX)

    def asked(self, row_id: str) -> None:
        if len(self._since) >= 2 * FRESH_MAX:  # their answers went to other copies
            self._since.clear()
        self._since[row_id] = clock.monotonic()

    def came(self, ids: Iterable[str]) -> None:
        for row_id in ids:
            since = self._since.pop(row_id, None)
            if since is not None:
                self._usual_s += (clock.monotonic() - since - self._usual_s) / 16


CLOSING: Final[Mapping[str, Any]] = {
    "$set": {"state": "closed"},
    "$currentDate": {"closed_at": True},
    "$unset": {"not_before": ""},
}


def _headers(trace: Mapping[str, str] | None) -> dict[str, str]:
    found = telemetry.headers() if trace is None else trace
    return {"ce-time": clock.now().isoformat(), **found}


def _document(row: Row, emissions: int, wait_s: float) -> Document:
    now = clock.now()
    return {
        "_id": row.id, "kind": row.kind, "about": row.about, "subject": row.subject,
        "payload": row.payload, "answered": row.answered, "emission": emissions,
        "headers": row.headers, "stale": row.stale, "state": "open",
        "created_at": now, "not_before": now + timedelta(seconds=wait_s),
    }  # fmt: skip


def next_of(document: Document) -> Row:
    """Returns what is stored as its next emission."""
    return Row(
        document["_id"], document["kind"], document["about"], document["payload"],
        document["subject"], document["answered"], document["emission"] + 1, document["headers"],
        document["stale"],
    )  # fmt: skip


def _reopening(row: Row) -> UpdateOne:
    document = _document(row, 0, 0.0)
    fresh = {k: document[k] for k in ("kind", "about", "subject", "answered", "created_at")}
    again = {k: document[k] for k in ("payload", "headers", "stale", "state", "not_before")}
    change = {"$setOnInsert": fresh, "$set": again, "$unset": {"closed_at": ""}}
    return UpdateOne({"_id": row.id}, change | {"$inc": {"emission": 1}}, upsert=True)

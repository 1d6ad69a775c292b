"""The outbox: facts and mails written in the transaction of the change that they tell of.

A row is closed by the business answer stored in our own database, never by the broker's word
(PROTOCOL, rule 0). Until then it is told again and again, each time as the next emission, at
growing intervals. Rows that nobody answers are closed once they were taken.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from pymongo import IndexModel, UpdateOne

from mercato.kernel import clock
from mercato.kernel.facts import Fact
from mercato.platform import telemetry
from mercato.platform.mongo import Collection, Document, Session, Shape

CLOSED_KEPT_S: Final = 86_400

SHAPE: Final = Shape(
    indexes=(
        # a row has `not_before` as long as it is not closed
        IndexModel(
            [("kind", 1), ("not_before", 1)],
            name="due",
            partialFilterExpression={"not_before": {"$exists": True}},
        ),
        IndexModel([("closed_at", 1)], name="closed", expireAfterSeconds=CLOSED_KEPT_S),
    )
)

Kind = Literal["nats", "news", "mail"]  # urgent facts, other facts, mails
KINDS: Final[tuple[Kind, ...]] = ("nats", "news", "mail")


@dataclass(frozen=True, slots=True)
class Row:
    """Something to be told: a fact for the bus, or a mail for the mailer."""

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
        fact.id, kind, fact.about, asdict(fact), fact.subject, fact.answered,
        headers=_headers(trace), stale=dict(stale or {}),
    )  # fmt: skip


def mail(about: str, template: str, payload: Document, *, stale: Mapping[str, int]) -> Row:
    return Row(f"{about}:{template}", "mail", about, payload, template, stale=dict(stale))


class Outbox:
    """The rows of one service, and the wish to have them told soon."""

    def __init__(self, rows: Collection) -> None:
        self.rows = rows
        self.wakes: dict[Kind, asyncio.Event] = {kind: asyncio.Event() for kind in KINDS}

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
            still_open = {"_id": {"$in": list(ids)}, "not_before": {"$exists": True}}
            await self.rows.update_many(still_open, CLOSING, session=session)

    def told_soon(self) -> None:
        for wake in self.wakes.values():
            wake.set()


CLOSING: Final[Mapping[str, Any]] = {
    "$set": {"state": "closed"},
    "$currentDate": {"closed_at": True},
    "$unset": {"not_before": ""},
}


def _headers(trace: Mapping[str, str] | None) -> dict[str, str]:
    found = telemetry.headers() if trace is None else trace
    return {"ce-time": clock.now().isoformat(), **found}


def _document(row: Row) -> Document:
    now = clock.now()
    return {
        "_id": row.id, "kind": row.kind, "about": row.about, "subject": row.subject,
        "payload": row.payload, "answered": row.answered, "emission": row.emission,
        "headers": row.headers, "stale": row.stale, "state": "open",
        "created_at": now, "not_before": now,
    }  # fmt: skip


def row_of(document: Document) -> Row:
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

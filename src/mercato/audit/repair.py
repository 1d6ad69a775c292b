"""Mends what an audit has found: compensating entries and re-emissions, never a change of history.

Every mend looks again, in its own transaction, whether it is still needed, so that a platform may
run meanwhile and a repair may be repeated.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pymongo
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from mercato.audit.model import Mend, Report, Verb
from mercato.audit.usecase import WELCOME, entries_due, moved, surplus
from mercato.events import Item, OrderCancelled, OrderCompleted, OrderCreated, OrderFact
from mercato.kernel.clock import monotonic, now
from mercato.platform import outbox
from mercato.platform.mongo import Document, Session, Store
from mercato.platform.outbox import Outbox, Row

ANSWER_S_MAX: Final = 30.0
SUM_S_MAX: Final = 60.0  # for the ledger rows of one product
_POLL_S: Final = 0.2
_ORDER: Final = tuple(Verb).index
_SAID: Final[Mapping[Verb, str]] = {
    Verb.BOOK: "write the reservation of order {subject} again, as its ledger rows tell",
    Verb.ENTER: "add the ledger rows that the reservation of order {subject} tells of",
    Verb.LEVEL: "add a ledger row against what was moved wrongly for order {subject}",
    Verb.EXPLAIN: "add a ledger row that explains the stock of product {subject} as it stands",
    Verb.TELL: "tell inventory {what} of order {subject} once more",
    Verb.MAIL: "put the mail {what} of {subject} on its way again (twice, if it had been sent)",
}


def planned(report: Report) -> list[Mend]:
    """Returns what can be done about the findings, each once, in the order to do it in."""
    mends = dict.fromkeys(mend for finding in report.findings for mend in finding.mends)
    return sorted(mends, key=lambda mend: (_ORDER(mend.verb), mend.subject))


def in_words(mend: Mend) -> str:
    return _SAID[mend.verb].format(subject=mend.subject, what=mend.what)


class Repair:
    """Applies mends; `told` are the outbox rows (outbox, id) that wait for their answer since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.told: list[tuple[str, str]] = []

    async def apply(self, mends: Iterable[Mend]) -> int:
        """Applies `mends` in their order; returns how many were still needed."""
        verbs = {
            Verb.BOOK: self._book, Verb.ENTER: self._enter, Verb.LEVEL: self._level,
            Verb.EXPLAIN: self._explain, Verb.TELL: self._tell, Verb.MAIL: self._mail,
        }  # fmt: skip
        return sum([await verbs[mend.verb](mend) for mend in mends])

    async def answered(self, within_s: float = ANSWER_S_MAX) -> bool:
        """Waits until every row told is closed; False when some are not `within_s`."""
        until = monotonic() + within_s
        while self.told:
            still = []
            for name, row_id in self.told:
                is_open = {"_id": row_id, "not_before": {"$exists": True}}
                if await self._store[name].find_one(is_open, {"_id": 1}):
                    still.append((name, row_id))
            self.told = still
            if monotonic() > until:
                return False
            await asyncio.sleep(_POLL_S if still else 0)
        return True

    async def _tell(self, mend: Mend) -> bool:
        async def body(session: Session) -> Row | None:
            order = await self._find("orders", mend.subject, session)
            if order is None:
                return None
            if await self._find("reservations", mend.subject, session) is None:
                if mend.what == OrderCreated.subject and await self._moves(mend.subject, session):
                    return None  # inventory would take the units, and enter them, twice
                await self._forget_answers(mend.subject, session)
            row = outbox.tell(_fact(order, mend.what), trace={})
            await Outbox(self._store["order_outbox"]).add_again([row], session)
            return row

        return self._was_told("order_outbox", await self._store.transaction(body))

    async def _mail(self, mend: Mend) -> bool:
        of_user = mend.what == WELCOME
        name = "user_outbox" if of_user else "order_outbox"

        async def body(session: Session) -> Row | None:
            about = await self._find("users" if of_user else "orders", mend.subject, session)
            queued = {"_id": f"{mend.subject}:{mend.what}"}
            if about is None or await self._store["mails"].find_one(queued, session=session):
                return None
            payload = _welcome(about) if of_user else _letter(about)
            row = outbox.mail(mend.subject, mend.what, payload, stale={})
            row = replace(row, headers={"ce-time": datetime.now(UTC).isoformat()})
            await Outbox(self._store[name]).add_again([row], session)
            return row

        return self._was_told(name, await self._store.transaction(body))

    async def _book(self, mend: Mend) -> bool:
        async def body(session: Session) -> bool:
            order = await self._find("orders", mend.subject, session)
            moves = await self._moves(mend.subject, session)
            held = {move["product_id"]: -move["delta"] for move in moves if move["cause"] == "held"}
            items = [{"product_id": product, "quantity": q} for product, q in held.items()]
            back = any(move["cause"] == "released" for move in moves)
            sold = order is not None and order["status"] == "COMPLETED"
            state = "RELEASED" if back else "SOLD" if sold else "HELD"
            written = await self._store["reservations"].update_one(
                {"_id": ObjectId(mend.subject)},
                {
                    "$setOnInsert": {
                        "state": state, "items": items, "reason": "", "updated_at": now(),
                    }
                },
                upsert=True, session=session,
            )  # fmt: skip
            return written.upserted_id is not None

        return await self._store.transaction(body)

    async def _enter(self, mend: Mend) -> bool:
        async def body(session: Session) -> bool:
            due, there = await self._due_and_there(mend.subject, session)
            entries = [
                _entry(f"{mend.subject}:{product}:{cause}", product, units, cause, mend.subject)
                for (product, cause), units in due.items()
                if (product, cause) not in there
            ]
            return await self._add(entries, session)

        return await self._store.transaction(body)

    async def _level(self, mend: Mend) -> bool:
        async def body(session: Session) -> bool:
            moves = await self._moves(mend.subject, session)
            due, there = await self._due_and_there(mend.subject, session)
            number = 1 + sum(move["cause"] == "audit" for move in moves)
            entries = [
                _entry(
                    f"{mend.subject}:{product}:audit:{number}", product, wanted - units, "audit",
                    mend.subject,
                )
                for product, (wanted, units) in surplus(due, there).items()
            ]  # fmt: skip
            return await self._add(entries, session)

        return await self._store.transaction(body)

    async def _explain(self, mend: Mend) -> bool:
        """The stock is what the shop has been selling by: the ledger gets what it lacks.

        Every service moves both at once, so the difference is the same at any instant; and its
        entry's number is taken by the first of two repairs.
        """
        product_id = ObjectId(mend.subject)
        group = {
            "_id": None,
            "units": {"$sum": "$delta"},
            "audits": {"$sum": {"$cond": [{"$eq": ["$cause", "audit"]}, 1, 0]}},
        }
        pipeline: list[Document] = [{"$match": {"product_id": product_id}}, {"$group": group}]
        with pymongo.timeout(SUM_S_MAX):
            async with self._store.session(snapshot=True) as session:
                product = await self._find("products", mend.subject, session)
                sums = await self._store["stock_ledger"].aggregate(pipeline, session=session)
                entered = (await sums.to_list() or [{"units": 0, "audits": 0}])[0]
        if product is None or product["stock"] == entered["units"]:
            return False
        name = f"{mend.subject}:audit:{entered['audits'] + 1}"
        delta = product["stock"] - entered["units"]
        entry = _entry(name, product_id, delta, "audit") | {"by": "audit"}
        try:
            await self._store["stock_ledger"].insert_one(entry)
        except DuplicateKeyError:
            return False
        return True

    async def _find(self, name: str, about: str, session: Session) -> Document | None:
        return await self._store[name].find_one({"_id": ObjectId(about)}, session=session)

    async def _moves(self, order_id: str, session: Session) -> list[Document]:
        mine = {"_id": {"$regex": f"^{order_id}:[0-9a-f]{{24}}:"}}
        return await self._store["stock_ledger"].find(mine, session=session).to_list()

    async def _due_and_there(
        self, order_id: str, session: Session
    ) -> tuple[dict[tuple[Any, str], int], dict[tuple[Any, str], int]]:
        reservation = await self._find("reservations", order_id, session)
        there = moved(await self._moves(order_id, session))
        if reservation is None:
            return there, there
        items = reservation["items"]
        columns = {
            "state": reservation["state"],
            "products": [item["product_id"] for item in items],
            "quantities": [item["quantity"] for item in items],
        }
        return entries_due(columns), there

    async def _forget_answers(self, order_id: str, session: Session) -> None:
        """Makes way for inventory's first answer: it remembers none, but closed rows stay a day."""
        answers = {"_id": {"$regex": f"^{order_id}:stock"}, "not_before": {"$exists": False}}
        await self._store["inventory_outbox"].delete_many(answers, session=session)

    async def _add(self, entries: Sequence[Document], session: Session) -> bool:
        if entries:
            await self._store["stock_ledger"].insert_many(entries, session=session)
        return bool(entries)

    def _was_told(self, name: str, row: Row | None) -> bool:
        if row is not None:
            self.told.append((name, row.id))
        return row is not None


def _fact(order: Document, subject: str) -> OrderFact:
    order_id = str(order["_id"])
    if subject == OrderCancelled.subject:
        return OrderCancelled(order_id=order_id, reason=order["reason"])
    if subject == OrderCompleted.subject:
        return OrderCompleted(order_id=order_id)
    items = [
        Item(product_id=str(item["product_id"]), quantity=item["quantity"])
        for item in order["items"]
    ]
    return OrderCreated(order_id=order_id, items=tuple(items))


def _entry(name: str, product_id: Any, delta: int, cause: str, order_id: str = "") -> Document:
    return {
        "_id": name, "product_id": product_id, "delta": delta, "cause": cause,
        "by": f"order:{order_id}", "reason": "mercato verify --repair", "at": now(),
    }  # fmt: skip


def _welcome(user: Document) -> Document:
    return {"to_email": user["email"], "username": user["username"]}


def _letter(order: Document) -> Document:
    items = [item | {"product_id": str(item["product_id"])} for item in order["items"]]
    return {
        "order_id": str(order["_id"]), "user_id": str(order["user_id"]), "items": items,
        "reason": order["reason"], "total": order["total"], "currency": order["currency"],
    }  # fmt: skip

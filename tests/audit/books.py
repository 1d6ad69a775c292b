"""A shop's books made by hand, as the services leave them: orders in every state that lasts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from mercato.audit.auditing import verify
from mercato.audit.model import Report
from mercato.kernel.identity import new_id
from mercato.platform.mongo import Store

Document = dict[str, Any]
Books = dict[str, list[Document]]

STOCK = 10**6
# what an order comes to, in turn: its status, its stock, its reservation, its mails
ENDS = (
    ("PENDING", "RESERVED", "HELD", ("order-confirmed",)),
    ("COMPLETED", "RESERVED", "SOLD", ("order-confirmed", "order-completed")),
    ("CANCELLED", "RELEASED", "RELEASED", ("order-confirmed", "order-cancelled")),
    ("CANCELLED", "REJECTED", "REJECTED", ("order-cancelled",)),
)
ACTIONS = {
    "PENDING": ("placed", "stock reserved"),
    "COMPLETED": ("placed", "stock reserved", "completed"),
    "RELEASED": ("placed", "stock reserved", "cancelled", "stock released"),
    "REJECTED": ("placed", "stock rejected"),
}


class Keeper:
    """Writes books that balance; `put` adds what it has written so far to a database."""

    def __init__(self, products: int = 3, at: datetime | None = None) -> None:
        self.at = at or datetime.now(UTC) - timedelta(hours=1)
        self.buyer = ObjectId(new_id())
        self.products = [ObjectId(new_id()) for _ in range(products)]
        self.stock = dict.fromkeys(self.products, STOCK)
        self._count = 0

    def orders(self, count: int) -> Books:
        """Returns what `count` orders of two items each leave behind."""
        books: Books = {name: [] for name in ("orders", "reservations", "stock_ledger", "mails")}
        for _ in range(count):
            for name, document in self._order():
                books[name].append(document)
        return books

    def catalogue(self) -> Books:
        """Returns the products as they stand now, with their first entries, and the buyer."""
        products = [
            {
                "_id": p, "name": "Thing", "stock": left, "price": 999, "currency": "EUR",
                "version": 1, "retired": False, "description": "x" * 200, "category": "",
            }
            for p, left in self.stock.items()
        ]  # fmt: skip
        entries = [_entry(f"{p}:initial", p, STOCK, "initial", "admin:x") for p in self.products]
        welcome = self._mail(str(self.buyer), "welcome")
        buyer = {
            "_id": self.buyer, "email": f"{self.buyer}@example.com", "username": str(self.buyer),
            "username_key": str(self.buyer), "role": "customer", "password_hash": "$argon2id$x",
            "created_at": self.at, "version": 1,
        }  # fmt: skip
        return {"products": products, "stock_ledger": entries, "mails": [welcome], "users": [buyer]}

    def _order(self) -> Iterator[tuple[str, Document]]:
        order_id, n = ObjectId(new_id()), self._count
        status, stock, state, mails = ENDS[n % len(ENDS)]
        self._count += 1
        pair = (self.products[n % len(self.products)], self.products[(n + 1) % len(self.products)])
        items = [{"product_id": p, "quantity": 1 + n % 3} for p in dict.fromkeys(pair)]
        lines = [item | {"name": "Thing", "unit_price": 999} for item in items]
        history = [
            {"at": self.at, "by": "inventory", "action": action, "detail": ""}
            for action in ACTIONS.get(stock) or ACTIONS[status]
        ]
        yield "orders", {
            "_id": order_id, "user_id": self.buyer, "items": lines, "total": 999, "currency": "EUR",
            "status": status, "stock": stock, "reason": "", "version": len(history),
            "fingerprint": "f" * 64, "history": history, "created_at": self.at,
            "updated_at": self.at, "idempotency_key": str(order_id),
        }  # fmt: skip
        yield "reservations", {
            "_id": order_id, "state": state, "items": items, "reason": "", "updated_at": self.at,
        }  # fmt: skip
        yield from (("stock_ledger", entry) for entry in self._moves(order_id, items, state))
        yield from (("mails", self._mail(str(order_id), template)) for template in mails)

    def _moves(self, order_id: ObjectId, items: list[Document], state: str) -> Iterator[Document]:
        causes = {"REJECTED": {}, "RELEASED": {"held": -1, "released": 1}}.get(state, {"held": -1})
        for cause, sign in causes.items():
            for item in items:
                product, units = item["product_id"], sign * item["quantity"]
                self.stock[product] += units
                name = f"{order_id}:{product}:{cause}"
                yield _entry(name, product, units, cause, f"order:{order_id}")

    def _mail(self, about: str, template: str) -> Document:
        return {
            "_id": f"{about}:{template}", "state": "SENT", "to_email": f"{self.buyer}@example.com",
            "data": {"template": template, "username": "x", "order": {"id": about, "lines": []}},
            "message_id": f"{about}.{template}@mercato.example", "attempts": 0,
            "created_at": self.at, "sent_at": self.at,
        }  # fmt: skip


def _entry(name: str, product: ObjectId, delta: int, cause: str, by: str) -> Document:
    return {
        "_id": name, "product_id": product, "delta": delta, "cause": cause, "by": by,
        "reason": "", "at": datetime.now(UTC),
    }  # fmt: skip


async def put(store: Store, books: Books) -> None:
    for name, documents in books.items():
        if documents:
            await store[name].insert_many(documents, ordered=False)


@dataclass
class Audited:
    """A database with a keeper's books; the orders' ends follow one another as in ENDS."""

    store: Store
    keeper: Keeper
    orders: list[ObjectId]

    @property
    def product(self) -> ObjectId:
        """One of the first order's."""
        return self.keeper.products[0]

    async def found(self, *, settled: bool = False) -> set[tuple[str, str]]:
        """Audits; returns (check, subject) of every finding."""
        report = await verify(self.store, settled=settled)
        return {(finding.check, finding.subject) for finding in report.findings}

    async def report(self) -> Report:
        return await verify(self.store)

    async def change(self, name: str, key: object, **fields: object) -> None:
        """Sets fields of a document, as somebody with a shell would."""
        changed = await self.store[name].update_one({"_id": key}, {"$set": fields})
        assert changed.modified_count == 1

    async def lose(self, name: str, key: object) -> None:
        lost = await self.store[name].delete_many({"_id": key})
        assert lost.deleted_count >= 1

    async def lose_ledger_of(self, order: ObjectId) -> None:
        await self.lose("stock_ledger", {"$regex": f"^{order}:"})

    async def add_row(self, about: object, subject: str, *, age_s: float, **fields: Any) -> None:
        """Adds an open outbox row of an order."""
        at = datetime.now(UTC) - timedelta(seconds=age_s)
        await self.store["order_outbox"].insert_one(
            {
                "_id": f"{about}:{subject}", "kind": "nats", "about": str(about),
                "subject": subject, "payload": {}, "answered": True, "emission": 2, "headers": {},
                "stale": {}, "state": "sent", "created_at": at, "not_before": at,
            } | fields
        )  # fmt: skip

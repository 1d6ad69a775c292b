"""Reservations in MongoDB: a batch of facts is decided and written in one transaction."""

from collections.abc import Mapping, Sequence, Set

from bson import ObjectId
from pymongo import ReplaceOne, UpdateMany

from mercato.events import OrderCreated, OrderFact
from mercato.inventory.model import Desk, Move, Reservation, Unfit
from mercato.inventory.repository.documents import (
    cache_key,
    move_document,
    reservation_document,
    reservation_of,
)
from mercato.kernel.clock import now
from mercato.platform import telemetry
from mercato.platform.cache import Cache
from mercato.platform.mongo import Session, Store
from mercato.platform.outbox import Outbox, Row, tell


class StockMovedMeanwhile(RuntimeError):
    """A product had fewer units than the decision was made on; the batch must be decided again."""


class MongoStock:
    """The collections `reservations` and `stock_ledger`, and the stock in `products`."""

    def __init__(self, store: Store, cache: Cache, outbox: Outbox) -> None:
        self._store = store
        self._products = store["products"]
        self._reservations = store["reservations"]
        self._ledger = store["stock_ledger"]
        self._cache = cache
        self._outbox = outbox

    async def reservation(self, order_id: str) -> Reservation | None:
        document = await self._reservations.find_one({"_id": ObjectId(order_id)})
        return reservation_of(document) if document else None

    async def settle(self, facts: Sequence[OrderFact | Unfit]) -> None:
        """Decides `facts` in their order and writes what follows, or nothing of it."""
        stale, told = await self._store.transaction(lambda session: self._settle(facts, session))
        telemetry.GROUP_SIZE.labels("stock").observe(len(facts))
        await self._cache.forget(stale)
        self._outbox.told_soon(told)

    async def _settle(
        self, facts: Sequence[OrderFact | Unfit], session: Session
    ) -> tuple[dict[str, int], list[Row]]:
        desk, seen = await self._load(facts, session)
        known = set(desk.reservations)  # what is known may have been answered; the rest was not
        for fact in facts:
            desk.settle(fact)
        versions = await self._move(_net(desk.moves), seen, session)
        await self._book(desk, known, session)
        answers = [_answer(fact, desk, versions) for fact in desk.answers.values()]
        first = [row for row in answers if row.about not in known]
        again = [row for row in answers if row.about in known]
        await self._outbox.add(first, session, in_hand=True)
        await self._outbox.add_again(again, session)
        return {cache_key(product_id): version for product_id, version in versions.items()}, first

    async def _load(
        self, facts: Sequence[OrderFact | Unfit], session: Session
    ) -> tuple[Desk, dict[str, int]]:
        """Returns a desk with the reservations of the orders at hand and the stock they want.

        With it the versions of the products that they want.
        """
        orders = list({ObjectId(fact.order_id) for fact in facts})
        documents = await self._reservations.find(
            {"_id": {"$in": orders}}, session=session
        ).to_list()
        wanted = list({
            ObjectId(item.product_id)
            for fact in facts if isinstance(fact, OrderCreated)
            for item in fact.items
        })  # fmt: skip
        found = self._products.find(
            {"_id": {"$in": wanted}, "retired": False}, {"stock": 1, "version": 1}, session=session
        )
        products = {str(document["_id"]): document for document in await found.to_list()}
        stock = {product_id: document["stock"] for product_id, document in products.items()}
        versions = {product_id: document["version"] for product_id, document in products.items()}
        reservations = {r.order_id: r for r in map(reservation_of, documents)}
        return Desk(reservations, stock), versions

    async def _move(
        self, net: Mapping[str, int], seen: Mapping[str, int], session: Session
    ) -> dict[str, int]:
        """Changes the stock of each product by its net delta; returns the products' new versions.

        `seen` are versions from the same snapshot: whoever changes a product after it ends this
        transaction, so the new version is the next one. Changes that are alike are one statement.

        The condition `stock >= what is taken` holds by the snapshot that the desk decided on. It
        stands here all the same: the database has the last word.
        """
        if not net:
            return {}
        at = now()
        alike: dict[int, list[ObjectId]] = {}
        for product_id, delta in net.items():
            alike.setdefault(delta, []).append(ObjectId(product_id))
        changes = [
            UpdateMany(
                {"_id": {"$in": ids}, "stock": {"$gte": max(-delta, 0)}},
                {"$inc": {"stock": delta, "version": 1}, "$set": {"updated_at": at}},
            )
            for delta, ids in alike.items()
        ]
        result = await self._products.bulk_write(changes, ordered=False, session=session)
        if result.matched_count != len(net):
            raise StockMovedMeanwhile("a product has fewer units than were decided on")
        versions = {product_id: seen[product_id] + 1 for product_id in net if product_id in seen}
        unseen = [ObjectId(product_id) for product_id in net if product_id not in seen]
        if unseen:
            found = self._products.find({"_id": {"$in": unseen}}, {"version": 1}, session=session)
            versions |= {str(each["_id"]): each["version"] for each in await found.to_list()}
        return versions

    async def _book(self, desk: Desk, known: Set[str], session: Session) -> None:
        at = now()
        books = {o: reservation_document(booked, at) for o, booked in desk.touched.items()}
        fresh = [document for order_id, document in books.items() if order_id not in known]
        changed = [
            ReplaceOne({"_id": document["_id"]}, document)
            for order_id, document in books.items()
            if order_id in known
        ]
        lines = [move_document(move, at) for move in desk.moves]
        if fresh:
            await self._reservations.insert_many(fresh, ordered=False, session=session)
        if changed:
            await self._reservations.bulk_write(changed, ordered=False, session=session)
        if lines:
            await self._ledger.insert_many(lines, ordered=False, session=session)


def _net(moves: Sequence[Move]) -> dict[str, int]:
    """Returns the sum of the moves per product, in the products' order so that locks meet less."""
    net: dict[str, int] = {}
    for move in moves:
        net[move.product_id] = net.get(move.product_id, 0) + move.delta
    return dict(sorted(net.items()))


def _answer(fact: OrderFact, desk: Desk, versions: Mapping[str, int]) -> Row:
    products = desk.reservations[fact.order_id].items
    return tell(fact, stale={cache_key(p): versions[p] for p in products if p in versions})

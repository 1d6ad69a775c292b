"""The catalogue in MongoDB: reads from the nearest place, changes with their ledger lines."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from bson import ObjectId
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError

from mercato.events import ProductChanged
from mercato.inventory.model import Cause, Edit, Move, Product, ProductNotFound, SkuTaken
from mercato.inventory.repository.documents import (
    cache_key,
    move_document,
    move_of,
    product_document,
    product_of,
)
from mercato.kernel.clock import now
from mercato.kernel.errors import Violation
from mercato.platform.cache import Cache
from mercato.platform.fold import Fold
from mercato.platform.memory import Memory
from mercato.platform.mongo import Document, Session, Store
from mercato.platform.outbox import Outbox, Row, tell

GROUP_MAX: Final = 64
COUNT_TTL_S: Final = 1.0  # how old the number of all products of a list may be
_SORTED_BY: Final = {"created_at": "_id", "": "_id"}

Write = InsertOne[Document] | ReplaceOne[Document] | UpdateOne | DeleteOne
Change = tuple[str, Callable[[Product], None], Move | None]
T = TypeVar("T")


class MongoProducts:
    """The collection `products`, its cache, its ledger and its outbox."""

    def __init__(self, store: Store, cache: Cache, outbox: Outbox) -> None:
        self._store = store
        self._products = store["products"]
        self._ledger = store["stock_ledger"]
        self._cache = cache
        self._outbox = outbox
        self._updating: Fold[Change, Product] = Fold(self._update, size_max=GROUP_MAX)
        self._counts: Memory[tuple[str, str], int] = Memory(size_max=1000, ttl_s=COUNT_TTL_S)

    async def add(self, product: Product) -> None:
        """Adds `product`; raises SkuTaken."""

        async def body(session: Session) -> None:
            await self._write([InsertOne(product_document(product))], [product], session)

        await self._commit(body)

    async def find(self, ids: Sequence[str]) -> Mapping[str, Product]:
        """Returns the products on sale among `ids`, by id."""
        keys = {cache_key(product_id): product_id for product_id in ids}
        cached = await self._cache.get_many(list(keys), Product)
        found = {keys[key]: product for key, product in cached.items()}
        missing = [ObjectId(product_id) for product_id in ids if product_id not in found]
        if missing:
            query = {"_id": {"$in": missing}, "retired": False}
            fresh = [product_of(d) for d in await self._products.find(query).to_list()]
            await self._cache.put_many({cache_key(p.id): (p.version, p) for p in fresh})
            found |= {product.id: product for product in fresh}
        return found

    async def page(
        self, *, category: str, text: str, sort: str, skip: int, limit: int
    ) -> tuple[Sequence[Product], int]:
        """Returns a page of the products on sale, and how many there are in all."""
        query: Document = {"retired": False}
        query |= {"category": category} if category else {}
        query |= {"$text": {"$search": _every_word(text)}} if text else {}
        known = self._counts.get((category, text))
        stages: list[Document] = [
            {"$match": query}, {"$sort": _order(text, sort)}, {"$skip": skip}, {"$limit": limit}
        ]  # fmt: skip
        if known is None and not text:  # one command for both costs little more than one of them
            counting = [{"$match": query}, {"$count": "total"}]
            stages.append({"$unionWith": {"coll": "products", "pipeline": counting}})
        documents = await (await self._products.aggregate(stages, allowDiskUse=True)).to_list()
        if known is None:
            counted = documents.pop()["total"] if documents and "total" in documents[-1] else 0
            known = await self._products.count_documents(query) if text else counted
            self._counts.put((category, text), known)
        return [product_of(d) for d in documents], known

    async def update(
        self, product_id: str, change: Callable[[Product], None], *, once: Move | None = None
    ) -> Product:
        """Applies `change` in a transaction, unless the ledger has its move `once` already.

        Raises ProductNotFound, SkuTaken, IdempotencyKeyReused, and what `change` raises.
        """
        return await self._updating((product_id, change, once))

    async def remove(self, product_id: str, expected_version: int | None, by: str) -> bool:
        """Retires the product, or erases one that no order has touched; returns whether erased."""

        async def body(session: Session) -> tuple[bool, int]:
            product = await self._load(product_id, session)
            product.expect(expected_version)
            product.version += 1
            ordered = {"product_id": ObjectId(product_id), "cause": str(Cause.HELD)}
            erased = await self._ledger.find_one(ordered, session=session) is None
            write = _erasing(product, by) if erased else _retiring(product)
            await self._write([write], [product], session)
            return erased, product.version

        erased, version = await self._commit(body)
        await self._cache.forget({cache_key(product_id): version})
        return erased

    async def upsert(
        self, edits: Sequence[Edit], by: str, now: datetime
    ) -> Sequence[tuple[str, bool]]:
        """Creates or changes by sku, all in one transaction; returns (id, whether created)."""

        async def body(session: Session) -> list[tuple[Product, bool]]:
            query = {"sku": {"$in": [edit.sku for edit in edits]}}
            documents = await self._products.find(query, session=session).to_list()
            there = {product.sku: product for product in map(product_of, documents)}
            results = [_upserted(edit, there.get(edit.sku or ""), by, now) for edit in edits]
            writes = [
                InsertOne(product_document(product)) if created else _replacing(product)
                for product, created in results
            ]
            await self._write(writes, [product for product, _ in results], session)
            return results

        results = await self._commit(body) if edits else []
        versions = {cache_key(product.id): product.version for product, _ in results}
        await self._cache.forget(versions)
        return [(product.id, created) for product, created in results]

    async def _update(self, changes: list[Change]) -> list[Product | Exception]:
        """Group commit of changes: a change that raises fails only its own caller."""
        try:
            results, stale = await self._commit(partial(self._apply, changes))
        except SkuTaken as refusal:
            if len(changes) == 1:
                return [refusal]
            return [result for each in changes for result in await self._update([each])]
        await self._cache.forget(stale)
        return results

    async def _apply(
        self, changes: list[Change], session: Session
    ) -> tuple[list[Product | Exception], dict[str, int]]:
        query = {"_id": {"$in": [ObjectId(i) for i in {i for i, _, _ in changes}]}}
        documents = await self._products.find(query | {"retired": False}, session=session).to_list()
        products = {product.id: product for product in map(product_of, documents)}
        before = {product.id: product.version for product in products.values()}
        moves = {"_id": {"$in": [once.id for _, _, once in changes if once]}}
        told = await self._ledger.find(moves, session=session).to_list() if moves else []
        moved = {move.id: move for move in map(move_of, told)}
        results = [_changed(products.get(i), change, once, moved) for i, change, once in changes]
        touched = [each for each in products.values() if each.version != before[each.id]]
        if touched:
            await self._write([_replacing(product) for product in touched], touched, session)
        return results, {cache_key(product.id): product.version for product in touched}

    async def _load(self, product_id: str, session: Session) -> Product:
        query = {"_id": ObjectId(product_id), "retired": False}
        document = await self._products.find_one(query, session=session)
        if document is None:
            raise ProductNotFound("there is no such product")
        return product_of(document)

    async def _write(
        self, writes: Sequence[Write], products: Sequence[Product], session: Session
    ) -> None:
        """Writes the products, their new ledger lines, and that they have changed."""
        at = now()
        await self._products.bulk_write(list(writes), ordered=False, session=session)
        moves = [move_document(move, at) for product in products for move in product.moves]
        if moves:
            await self._ledger.insert_many(moves, ordered=False, session=session)
        await self._outbox.add((_told(product) for product in products), session)

    async def _commit(self, body: Callable[[Session], Awaitable[T]]) -> T:
        try:
            result = await self._store.transaction(body)
        except BulkWriteError as failure:
            errors = failure.details.get("writeErrors", [])
            if not any("sku" in error.get("keyPattern", {}) for error in errors):
                raise
            raise SkuTaken("another product has this sku", [Violation("sku", "is taken")]) from None
        self._outbox.told_soon()
        return result


def _order(text: str, sort: str) -> Document:
    """Returns what a list is sorted by: as `sort` says, or the best first, or the newest."""
    if text and not sort:
        return {"score": {"$meta": "textScore"}, "_id": -1}
    direction = -1 if sort.startswith("-") or not sort else 1
    name = _SORTED_BY.get(sort.lstrip("-"), sort.lstrip("-"))
    return {name: direction} if name == "_id" else {name: direction, "_id": -direction}


def _changed(
    product: Product | None,
    change: Callable[[Product], None],
    once: Move | None,
    moved: dict[str, Move],
) -> Product | Exception:
    try:
        if product is None:
            raise ProductNotFound("there is no such product")
        if once is not None and once.id in moved:
            moved[once.id].same(once)
            return product
        change(product)
    except Exception as refusal:  # noqa: BLE001 - goes to the caller whose change it is
        return refusal
    if once is not None:
        moved[once.id] = once
    return product


def _upserted(edit: Edit, product: Product | None, by: str, now: datetime) -> tuple[Product, bool]:
    if product is None:
        return Product.create(edit, by, now), True
    product.edit(edit, by, now, expected_version=None)
    return product, False


def _replacing(product: Product) -> Write:
    return ReplaceOne({"_id": ObjectId(product.id), "retired": False}, product_document(product))


def _retiring(product: Product) -> Write:
    change = {"$set": {"retired": True, "version": product.version}, "$unset": {"sku": ""}}
    return UpdateOne({"_id": ObjectId(product.id)}, change)


def _erasing(product: Product, by: str) -> Write:
    if product.stock:
        move_id = f"{product.id}:erased"
        product.moves.append(Move(move_id, product.id, -product.stock, Cause.ERASED, by))
    return DeleteOne({"_id": ObjectId(product.id)})


def _told(product: Product) -> Row:
    fact = ProductChanged(product_id=product.id, version=product.version)
    return tell(fact, stale={cache_key(product.id): product.version})


def _every_word(text: str) -> str:
    """Returns a search for products that have every word of `text`, not just some."""
    words = text.replace('"', " ").replace("\\", " ").split()
    return " ".join(f'"{word}"' for word in words)

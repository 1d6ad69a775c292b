"""Fills a shop to a size: copies of what requests left behind, alike in all but their names.

A thing's documents are copied as BSON, in which each name (an id, say) is exchanged for another of
the same length. So a million of them have the shape that the platform gave to the first ones.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Final

import pymongo
from bson import ObjectId
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne

from mercato.platform.mongo import Store

INSERTED_AT_ONCE: Final = 1_000
DATABASE_S: Final = 60.0
ID_LENGTH: Final = 24

# Where a thing leaves documents whose ids begin with its own; outboxes keep theirs for a day only.
OF_PRODUCTS: Final = ("products", "stock_ledger")
OF_ORDERS: Final = ("orders", "reservations", "stock_ledger", "mails")

Names = Sequence[bytes]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Family:
    """The documents of one thing, with their collections, and the names in them."""

    names: Names
    documents: tuple[tuple[str, bytes], ...]

    def renamed(self, names: Names) -> Iterator[tuple[str, RawBSONDocument]]:
        """Yields a copy of each document; raises ValueError for a name of another length."""
        if list(map(len, names)) != list(map(len, self.names)):
            raise ValueError("a name must be as long as the one that it replaces")
        for collection, raw in self.documents:
            for old, new in zip(self.names, names, strict=True):
                raw = raw.replace(old, new)
            yield collection, RawBSONDocument(raw)


def id_names(*ids: ObjectId) -> list[bytes]:
    """Returns how ids stand in a document: as they are, and as text."""
    return [name for each in ids for name in (each.binary, str(each).encode())]


def order_names(order_id: ObjectId, key: str = "", *users: ObjectId) -> list[bytes]:
    """Returns what names an order; by default its `key` is as one that a gateway gives."""
    return [(key or f"gateway:{order_id}").encode(), *id_names(order_id, *users)]


async def families(
    store: Store, collections: Iterable[str], names: Mapping[ObjectId, Names]
) -> list[Family]:
    """Returns the documents of each of the things that have these `names`, by their ids."""
    ids = {str(each): each for each in names}
    first, last = min(ids), max(ids)
    ours = {
        "$or": [
            {"_id": {"$gte": ObjectId(first), "$lte": ObjectId(last)}},
            {"_id": {"$gte": first, "$lt": f"{last}~"}},
        ]
    }
    found: dict[ObjectId, list[tuple[str, bytes]]] = {each: [] for each in names}
    for name in collections:
        raw = store[name].with_options(codec_options=CodecOptions(RawBSONDocument))
        with pymongo.timeout(DATABASE_S):
            documents = await raw.find(ours).to_list()
        for document in documents:
            owner = ids.get(str(document["_id"])[:ID_LENGTH])
            if owner is not None:
                found[owner].append((name, bytes(document.raw)))
    return [Family(names[each], tuple(documents)) for each, documents in found.items()]


async def fill(
    store: Store, templates: Sequence[Family], names: Iterable[Names], tell: Tell | None = None
) -> None:
    """Inserts a copy for each of `names`, of one of the `templates` after the other."""
    pairs = zip(cycle(templates), names, strict=False)
    done = 0
    while batch := list(islice(pairs, INSERTED_AT_ONCE)):
        documents: dict[str, list[RawBSONDocument]] = {}
        for family, new in batch:
            for collection, document in family.renamed(new):
                documents.setdefault(collection, []).append(document)
        for collection, copies in documents.items():
            with pymongo.timeout(DATABASE_S):
                await store[collection].insert_many(copies, ordered=False)
        done += len(batch)
        if tell and done % 50_000 == 0:
            tell(f"  {done:,} filled in")


async def order_families(
    store: Store, orders: Sequence[Mapping[str, Any]], user: bool = False
) -> list[Family]:
    """Returns the families of `orders`; their users are among the names if `user` says so."""
    names = {
        o["_id"]: order_names(o["_id"], o["idempotency_key"], *([o["user_id"]] if user else []))
        for o in orders
    }
    return await families(store, OF_ORDERS, names)


async def take(store: Store, orders: Sequence[Mapping[str, Any]], count: int) -> None:
    """Takes from the stock what `count` copies of `orders`, in turns, have taken."""
    whole, rest = divmod(count, len(orders))
    units: Counter[ObjectId] = Counter()
    for number, order in enumerate(orders):
        for item in order["items"]:
            units[item["product_id"]] += item["quantity"] * (whole + (number < rest))
    changes = [UpdateOne({"_id": id_}, {"$inc": {"stock": -n}}) for id_, n in units.items()]
    with pymongo.timeout(DATABASE_S):
        await store["products"].bulk_write(changes, ordered=False)


async def forget_since(store: Store, last: ObjectId) -> None:
    """Deletes the orders after `last`, with what they left behind; ids are in time order."""
    for name in OF_ORDERS:
        later = {"$or": [{"_id": {"$gt": last}}, {"_id": {"$gt": f"{last}~"}}]}
        with pymongo.timeout(DATABASE_S):
            await store[name].delete_many(later)

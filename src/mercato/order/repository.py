"""Orders and their outbox in MongoDB; many callers' changes share one transaction."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from bson import ObjectId
from pymongo import IndexModel, UpdateMany
from pymongo.errors import BulkWriteError, DuplicateKeyError

from mercato.kernel.errors import NotFound, Unavailable
from mercato.kernel.money import Money
from mercato.order.model import Entry, Line, Order, Status, Stock
from mercato.platform import outbox, telemetry
from mercato.platform.cache import Cache
from mercato.platform.fold import Fold
from mercato.platform.mongo import Document, Session, Shape, Store
from mercato.platform.outbox import Outbox, Row

GROUP_MAX: Final = 64
GATHER_S: Final = 0.02  # an order that comes in a rush may wait so long for others
TRIES_MAX: Final = 3

_MONEY: Final = {"bsonType": ["int", "long"]}

SHAPES: Final = {
    "orders": Shape(
        schema={
            "bsonType": "object",
            "required": ["user_id", "items", "total", "currency", "status", "stock", "version"],
            "properties": {
                "user_id": {"bsonType": "objectId"},
                "items": {"bsonType": "array", "minItems": 1},
                "total": _MONEY,
                "status": {"enum": [str(status) for status in Status]},
                "stock": {"enum": [str(stock) for stock in Stock]},
            },
        },
        indexes=(
            IndexModel(
                [("user_id", 1), ("idempotency_key", 1)], name="idempotency", unique=True,
                partialFilterExpression={"idempotency_key": {"$exists": True}},
            ),
            IndexModel([("user_id", 1), ("status", 1), ("_id", -1)], name="owner_status_newest"),
            IndexModel([("status", 1), ("_id", -1)], name="status_newest"),
        ),
        former=("owner_newest", "held"),
    ),
    "order_outbox": outbox.SHAPE,
}  # fmt: skip

Trace = dict[str, str]  # headers, of the request that a change belongs to
Key = tuple[str, str | None]  # what makes two orders the same one
Change = tuple[str, Callable[[Order], None], Trace]


class MongoOrders:
    """The collection `orders`, its cache and its outbox."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._orders = store["orders"]
        self._cache = cache
        self.outbox = Outbox(store["order_outbox"])
        self._adding: Fold[tuple[Order, Trace], Order] = Fold(
            self._add, size_max=GROUP_MAX, gather_s=GATHER_S
        )
        self._updating: Fold[Change, Order] = Fold(self._update, size_max=GROUP_MAX * 4)

    async def add(self, order: Order) -> Order:
        """Adds `order`, or returns the one that its key has placed before."""
        return await self._adding((order, telemetry.headers()))

    async def placed(self, user_id: str, idempotency_key: str) -> Order | None:
        key = {"user_id": ObjectId(user_id), "idempotency_key": idempotency_key}
        document = await self._orders.find_one(key)
        return _order(document) if document else None

    async def find(self, ids: Sequence[str]) -> Mapping[str, Order]:
        """Returns the orders that there are, by id; from the cache where it knows them."""
        keys = {_key(order_id): order_id for order_id in ids}
        cached = await self._cache.get_many(list(keys), Order)
        found = {keys[key]: order for key, order in cached.items()}
        missing = [ObjectId(order_id) for order_id in ids if order_id not in found]
        if missing:
            documents = await self._orders.find({"_id": {"$in": missing}}).to_list()
            fresh = {order.id: order for order in map(_order, documents)}
            await self._cache.put_many({_key(i): (o.version, o) for i, o in fresh.items()})
            found |= fresh
        return found

    async def page(self, user_id: str, status: str, before: str, limit: int) -> Sequence[Order]:
        """Returns at most `limit` orders, newest first, older than the order `before`."""
        query: Document = {"user_id": ObjectId(user_id)} if user_id else {}
        if user_id or status:  # an owner's index begins with the status: of all, it is read in turn
            query["status"] = status or {"$in": [str(each) for each in Status]}
        query |= {"_id": {"$lt": ObjectId(before)}} if before else {}
        documents = await self._orders.find(query).sort("_id", -1).limit(limit).to_list()
        return [_order(document) for document in documents]

    async def held_longer_than(self, hold_s: int, count_max: int) -> Sequence[str]:
        """Returns ids of pending orders whose stock was reserved more than `hold_s` seconds ago.

        The longest held come first. Only the database's clock counts, whatever ours shows.
        """
        since = {"$subtract": ["$$NOW", hold_s * 1000]}
        query = {
            "status": Status.PENDING, "stock": Stock.RESERVED, "reserved_at": {"$exists": True},
            "$expr": {"$lt": ["$reserved_at", since]},
        }  # fmt: skip
        found = self._orders.find(query, {"_id": 1}).sort("reserved_at", 1).limit(count_max)
        return [str(document["_id"]) for document in await found.to_list()]

    async def update(self, order_id: str, change: Callable[[Order], None]) -> Order:
        """Applies `change` in a transaction; raises NotFound, and what `change` raises."""
        return await self._updating((order_id, change, telemetry.headers()))

    async def _add(self, placed: list[tuple[Order, Trace]]) -> list[Order | Exception]:
        """Group commit of new orders: a known key leaves the group, which is then redone."""
        orders = [order for order, _ in placed]
        rows = {order.id: _rows(order, trace) for order, trace in placed}
        known: dict[Key, Order] = {}
        for _ in range(TRIES_MAX):
            fresh = _first_by_key(orders, known)
            try:
                told = [row for order in fresh.values() for row in rows[order.id]]
                insert = partial(self._insert, list(fresh.values()), told)
                await self._store.transaction(insert)
            except (BulkWriteError, DuplicateKeyError):
                known |= await self._known(orders)
            else:
                telemetry.GROUP_SIZE.labels("orders").observe(len(fresh))
                self.outbox.told_soon(told)
                return [known.get(_idem(o)) or fresh[_idem(o)] for o in orders]
        return [Unavailable("the order could not be placed just now; try again")] * len(orders)

    async def _insert(self, orders: Sequence[Order], rows: Sequence[Row], session: Session) -> None:
        if orders:
            documents = [_document(order) for order in orders]
            await self._orders.insert_many(documents, ordered=False, session=session)
            await self.outbox.add(rows, session, in_hand=True)

    async def _known(self, orders: Sequence[Order]) -> dict[Key, Order]:
        keys = [
            {"user_id": ObjectId(o.user_id), "idempotency_key": o.idempotency_key}
            for o in orders
            if o.idempotency_key
        ]
        found = await self._orders.find({"$or": keys}).to_list() if keys else []
        return {_idem(order): order for order in map(_order, found)}

    async def _update(self, changes: list[Change]) -> list[Order | Exception]:
        """Group commit of changes: a change that raises fails only its own caller."""
        results, stale, told = await self._store.transaction(lambda s: self._apply(changes, s))
        telemetry.GROUP_SIZE.labels("order changes").observe(len(changes))
        await self._cache.forget(stale)
        self.outbox.told_soon(told)
        return results

    async def _apply(
        self, changes: list[Change], session: Session
    ) -> tuple[list[Order | Exception], dict[str, int], list[Row]]:
        ids = list({ObjectId(order_id) for order_id, _, _ in changes})
        traces = {order_id: trace for order_id, _, trace in changes}
        documents = await self._orders.find({"_id": {"$in": ids}}, session=session).to_list()
        orders = {order.id: order for order in map(_order, documents)}
        before = {order.id: order.version for order in orders.values()}
        results = [_changed(orders.get(order_id), change) for order_id, change, _ in changes]
        touched = [order for order in orders.values() if order.version != before[order.id]]
        if touched:
            await self._orders.bulk_write(_updates(touched, before), ordered=False, session=session)
        rows = [row for order in touched for row in _rows(order, traces[order.id])]
        await self.outbox.add(rows, session, in_hand=True)
        answered = [row_id for order in orders.values() for row_id in order.telling.answered]
        await self.outbox.close(answered, session)
        return results, {_key(order.id): order.version for order in touched}, rows


def _changed(order: Order | None, change: Callable[[Order], None]) -> Order | Exception:
    if order is None:
        return NotFound("there is no such order")
    try:
        change(order)
    except Exception as refusal:  # noqa: BLE001 - goes to the caller whose change it is
        return refusal
    return order


def _first_by_key(orders: Sequence[Order], known: Mapping[Key, Order]) -> dict[Key, Order]:
    first: dict[Key, Order] = {}
    for order in orders:
        if _idem(order) not in known:
            first.setdefault(_idem(order), order)
    return first


def _idem(order: Order) -> Key:
    """What makes two orders the same one: the user and the key, or being that very order."""
    return (order.user_id, order.idempotency_key) if order.idempotency_key else (order.id, None)


def _rows(order: Order, trace: Trace) -> list[Row]:
    """Returns what the order's last change tells, as outbox rows."""
    stale = {_key(order.id): order.version} if order.version > 1 else {}  # of a new one, nothing
    facts = [outbox.tell(fact, stale=stale, trace=trace) for fact in order.telling.facts]
    mails = [
        outbox.mail(order.id, template, _mail_payload(order), stale=stale)
        for template in order.telling.mails
    ]
    return facts + mails


def _mail_payload(order: Order) -> Document:
    items = [
        {
            "product_id": e.product_id,
            "name": e.name,
            "quantity": e.quantity,
            "unit_price": e.unit_price.minor,
        }
        for e in order.lines
    ]
    return {
        "order_id": order.id, "user_id": order.user_id, "items": items, "reason": order.reason,
        "total": order.total.minor, "currency": order.total.currency,
    }  # fmt: skip


def _key(order_id: str) -> str:
    return f"order:{order_id}"


def _updates(orders: Sequence[Order], before: Mapping[str, int]) -> list[UpdateMany]:
    """Returns what writes the changes since the versions `before`; alike ones are one statement."""
    alike: dict[tuple[object, ...], list[Order]] = {}
    for order in orders:
        # every change notes itself once, so what is new in the history is the version's growth
        news = tuple(order.history[before[order.id] - order.version :])
        state = (order.status, order.stock, order.reason, order.version, order.updated_at)
        alike.setdefault((*state, news), []).append(order)
    return [_changing(some, before[some[0].id]) for some in alike.values()]


def _changing(orders: Sequence[Order], version: int) -> UpdateMany:
    """Returns what writes the same change, since `version`, to each of `orders`."""
    order = orders[0]
    state = {
        "status": str(order.status), "stock": str(order.stock), "reason": order.reason,
        "version": order.version, "updated_at": order.updated_at,
    }  # fmt: skip
    news = [_entry_document(entry) for entry in order.history[version - order.version :]]
    change: Document = {"$set": state, "$push": {"history": {"$each": news}}}
    if (order.status, order.stock) == (Status.PENDING, Stock.RESERVED):
        change |= {"$currentDate": {"reserved_at": True}}
    ids = [ObjectId(each.id) for each in orders]
    return UpdateMany({"_id": {"$in": ids}, "version": version}, change)


def _document(order: Order) -> Document:
    document: Document = {
        "_id": ObjectId(order.id), "user_id": ObjectId(order.user_id),
        "items": [
            {
                "product_id": ObjectId(e.product_id), "name": e.name, "quantity": e.quantity,
                "unit_price": e.unit_price.minor,
            }
            for e in order.lines
        ],
        "total": order.total.minor, "currency": order.total.currency,
        "status": str(order.status), "stock": str(order.stock), "reason": order.reason,
        "version": order.version, "fingerprint": order.fingerprint,
        "history": [_entry_document(entry) for entry in order.history],
        "created_at": order.created_at, "updated_at": order.updated_at,
    }  # fmt: skip
    if order.idempotency_key:
        document["idempotency_key"] = order.idempotency_key
    return document


def _entry_document(entry: Entry) -> Document:
    return {"at": entry.at, "by": entry.by, "action": entry.action, "detail": entry.detail}


def _order(document: Mapping[str, Any]) -> Order:
    currency = document["currency"]
    return Order(
        str(document["_id"]), str(document["user_id"]),
        [
            Line(str(e["product_id"]), e["name"], e["quantity"], Money(e["unit_price"], currency))
            for e in document["items"]
        ],
        Money(document["total"], currency), document["created_at"], document["updated_at"],
        document.get("idempotency_key"), document["fingerprint"], Status(document["status"]),
        Stock(document["stock"]), document["reason"], document["version"],
        [Entry(e["at"], e["by"], e["action"], e["detail"]) for e in document["history"]],
    )  # fmt: skip

"""What the inventory's documents look like, and the way from the model to them and back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from bson import ObjectId
from pymongo import IndexModel

from mercato.inventory.model import Cause, Move, Product, Reservation, State
from mercato.kernel.money import Money
from mercato.platform import outbox
from mercato.platform.mongo import Document, Shape, Store
from mercato.platform.settings import SettingsError

_COUNT: Final = {"bsonType": ["int", "long"]}
_ON_SALE: Final = {"sku": {"$exists": True}}

SHAPES: Final = {
    "products": Shape(
        schema={
            "bsonType": "object",
            "required": ["name", "stock", "price", "currency", "version", "retired"],
            "properties": {
                "name": {"bsonType": "string"},
                "stock": _COUNT | {"minimum": 0},
                "price": _COUNT | {"minimum": 0},
                "version": _COUNT,
                "retired": {"bsonType": "bool"},
            },
        },
        indexes=(
            IndexModel([("sku", 1)], name="sku", unique=True, partialFilterExpression=_ON_SALE),
            IndexModel([("retired", 1), ("_id", -1)], name="newest"),
            IndexModel([("retired", 1), ("category", 1), ("_id", -1)], name="category_newest"),
            IndexModel([("retired", 1), ("name", 1), ("_id", -1)], name="name"),
            IndexModel([("retired", 1), ("price", 1), ("_id", -1)], name="price"),
            IndexModel(
                [("name", "text"), ("category", "text"), ("description", "text")],
                name="text", weights={"name": 10, "category": 5, "description": 1},
            ),
        ),
    ),
    "reservations": Shape(
        schema={
            "bsonType": "object",
            "required": ["state", "items"],
            "properties": {"state": {"enum": [str(state) for state in State]}},
        },
        former=("state",),
    ),
    "stock_ledger": Shape(
        schema={
            "bsonType": "object",
            "required": ["product_id", "delta", "cause", "at"],
            "properties": {"delta": _COUNT, "cause": {"enum": [str(cause) for cause in Cause]}},
        },
        indexes=(IndexModel([("product_id", 1), ("cause", 1)], name="product"),),
    ),
    "inventory_outbox": outbox.SHAPE,
}  # fmt: skip


async def check_currency(store: Store, currency: str) -> None:
    """Raises SettingsError when the catalogue is priced in another currency than the shop's."""
    foreign = {"currency": {"$ne": currency}}
    found = await store["products"].find_one(foreign, {"currency": 1}, sort=[("_id", -1)])
    if found is not None:
        raise SettingsError(
            f"CURRENCY is {currency}, but there are products priced in {found['currency']}: "
            "a shop has one currency, and each needs a database of its own (MONGO_DB_NAME)"
        )


def cache_key(product_id: str) -> str:
    return f"product:{product_id}"


def product_document(product: Product) -> Document:
    document = {
        "_id": ObjectId(product.id), "name": product.name, "description": product.description,
        "category": product.category, "stock": product.stock, "price": product.price.minor,
        "currency": product.price.currency, "version": product.version, "retired": False,
        "created_at": product.created_at, "updated_at": product.updated_at,
    }  # fmt: skip
    # absent where empty, so that the unique index does not see it
    return document | ({"sku": product.sku} if product.sku else {})


def product_of(document: Mapping[str, Any]) -> Product:
    return Product(
        str(document["_id"]), document["name"], document["description"], document["category"],
        document.get("sku", ""), document["stock"],
        Money(document["price"], document["currency"]), document["created_at"],
        document["updated_at"], document["version"],
    )  # fmt: skip


def move_document(move: Move, at: datetime) -> Document:
    return {
        "_id": move.id, "product_id": ObjectId(move.product_id), "delta": move.delta,
        "cause": str(move.cause), "by": move.by, "reason": move.reason, "at": at,
    }  # fmt: skip


def move_of(document: Mapping[str, Any]) -> Move:
    return Move(
        document["_id"], str(document["product_id"]), document["delta"], Cause(document["cause"]),
        document["by"], document["reason"],
    )  # fmt: skip


def reservation_document(reservation: Reservation, at: datetime) -> Document:
    items = [{"product_id": ObjectId(p), "quantity": q} for p, q in reservation.items.items()]
    return {
        "_id": ObjectId(reservation.order_id), "state": str(reservation.state), "items": items,
        "reason": reservation.reason, "updated_at": at,
    }  # fmt: skip


def reservation_of(document: Mapping[str, Any]) -> Reservation:
    items = {str(item["product_id"]): item["quantity"] for item in document["items"]}
    state = State(document["state"])
    return Reservation(str(document["_id"]), state, items, document["reason"])

"""Products and facts for the tests of the inventory, and the sum that must always hold."""

from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from mercato.events import Item, OrderCreated
from mercato.inventory.model import Edit, Product
from mercato.kernel.identity import new_id
from mercato.kernel.money import Money
from mercato.platform.mongo import Store

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PRICE = Money(1999, "EUR")


def product(stock: int = 10, **fields: str) -> Product:
    edit = Edit(name=fields.pop("name", "Lamp"), stock=stock, price=PRICE, **fields)
    return Product.create(edit, "admin:a", NOW)


def created(*items: tuple[str, int], order_id: str = "") -> OrderCreated:
    wanted = tuple(Item(product_id=product_id, quantity=quantity) for product_id, quantity in items)
    return OrderCreated(order_id=order_id or new_id(), items=wanted)


async def on_hand(store: Store, product_id: str) -> int:
    document = await store["products"].find_one({"_id": ObjectId(product_id)})
    return int(document["stock"]) if document else 0


async def ledger(store: Store, product_id: str) -> list[dict[str, Any]]:
    lines = store["stock_ledger"].find({"product_id": ObjectId(product_id)})
    return await lines.sort("at", 1).to_list()


async def balanced(store: Store, *product_ids: str) -> bool:
    """Whether each product's stock is the sum of its ledger."""
    for product_id in product_ids:
        lines = await ledger(store, product_id)
        if sum(line["delta"] for line in lines) != await on_hand(store, product_id):
            return False
    return True

"""What can be done with the catalogue and its stock."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from mercato.events import OrderFact
from mercato.inventory.model import (
    Edit,
    Move,
    Product,
    ProductNotFound,
    Reservation,
    Unfit,
    adjustment,
)
from mercato.kernel.errors import Invalid, NotFound, Violation
from mercato.kernel.identity import new_id

PAGE_DEFAULT = 20


class Products(Protocol):
    async def add(self, product: Product) -> None: ...

    async def find(self, ids: Sequence[str]) -> Mapping[str, Product]: ...

    async def page(
        self, *, category: str, text: str, sort: str, skip: int, limit: int
    ) -> tuple[Sequence[Product], int]: ...

    async def update(
        self, product_id: str, change: Callable[[Product], None], *, once: Move | None = None
    ) -> Product:
        """Applies `change` in a transaction, unless the ledger has its move already."""
        ...

    async def remove(self, product_id: str, expected_version: int | None, by: str) -> bool: ...

    async def upsert(
        self, edits: Sequence[Edit], by: str, now: datetime
    ) -> Sequence[tuple[str, bool] | Exception]: ...


class Stock(Protocol):
    async def settle(self, facts: Sequence[OrderFact | Unfit]) -> None: ...

    async def reservation(self, order_id: str) -> Reservation | None: ...


class Catalogue:
    """The verbs of those who keep the catalogue and of those who read it."""

    def __init__(self, products: Products, clock: Callable[[], datetime]) -> None:
        self._products = products
        self._clock = clock

    async def create(self, edit: Edit, by: str) -> Product:
        """Returns the new product; raises SkuTaken."""
        product = Product.create(edit, by, self._clock())
        await self._products.add(product)
        return product

    async def get(self, product_id: str) -> Product:
        """Returns the product; raises ProductNotFound."""
        found = await self._products.find([product_id])
        if product_id not in found:
            raise ProductNotFound("there is no such product")
        return found[product_id]

    async def find(self, ids: Sequence[str]) -> Mapping[str, Product]:
        return await self._products.find(ids)

    async def page(
        self, *, category: str, text: str, sort: str, page: int, limit: int
    ) -> tuple[Sequence[Product], int, int, int]:
        """Returns the products of a page, its number, its size, and how many there are in all."""
        page, limit = page or 1, limit or PAGE_DEFAULT
        products, total = await self._products.page(
            category=category, text=text, sort=sort, skip=(page - 1) * limit, limit=limit
        )
        return products, page, limit, total

    async def edit(
        self, product_id: str, edit: Edit, by: str, expected_version: int | None
    ) -> Product:
        """Returns the changed product; raises ProductNotFound, SkuTaken, a Stale refusal."""
        now = self._clock()
        return await self._products.update(
            product_id,
            lambda product: product.edit(edit, by, now, expected_version=expected_version),
        )

    async def adjust(self, product_id: str, delta: int, by: str, reason: str, key: str) -> Product:
        """Returns the product with `delta` more units; the same key again changes nothing.

        Raises ProductNotFound, InsufficientStock, IdempotencyKeyReused.
        """
        now = self._clock()
        move = adjustment(product_id, delta, by, reason, key or new_id())
        return await self._products.update(
            product_id, lambda product: product.adjust(move, now), once=move
        )

    async def remove(self, product_id: str, by: str, expected_version: int | None) -> bool:
        """Retires the product, or erases one that never sold; returns whether it was erased."""
        return await self._products.remove(product_id, expected_version, by)

    async def upsert(self, edits: Sequence[Edit], by: str) -> list[tuple[str, bool] | Exception]:
        """Creates or changes by sku; returns (id, whether created) or a refusal for each."""
        first: dict[str, int] = {}
        refused: dict[int, Exception] = {}
        for i, edit in enumerate(edits):
            if not edit.sku:
                refused[i] = Invalid("no sku", [Violation("sku", "is needed here")])
            elif first.setdefault(edit.sku, i) != i:
                refused[i] = Invalid("sku twice", [Violation("sku", "stands twice in this call")])
        fit = [edit for i, edit in enumerate(edits) if i not in refused]
        results = iter(await self._products.upsert(fit, by, self._clock()))
        return [refused[i] if i in refused else next(results) for i in range(len(edits))]


class Warehouse:
    """The verbs of the order's story: hold, release, sell."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    async def settle(self, facts: Sequence[OrderFact | Unfit]) -> None:
        """Decides the facts in their order, in one transaction, and answers each."""
        await self._stock.settle(facts)

    async def reservation(self, order_id: str) -> Reservation:
        """Returns what is known of an order; raises NotFound."""
        found = await self._stock.reservation(order_id)
        if found is None:
            raise NotFound("nothing is known of this order")
        return found

"""The inventory's front door: its gRPC methods, and the orders' facts as they arrive."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from mercato.events import OrderCancelled, OrderCompleted, OrderCreated, OrderFact
from mercato.inventory.model import Edit, Product, Unfit
from mercato.inventory.usecase import Catalogue, Warehouse
from mercato.kernel.clock import rfc3339
from mercato.kernel.errors import Invalid, Violation
from mercato.kernel.identity import Party, is_id
from mercato.kernel.money import Money
from mercato.pb import inventory_pb2 as pb
from mercato.pb import money_pb2
from mercato.pb.inventory_pb2_grpc import InventoryServiceServicer
from mercato.platform.bus import Delivery
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.rpc import caller, status_of, validated

_KEEPERS: Final[frozenset[Party]] = frozenset({"admin"})
_READERS: Final[frozenset[Party]] = frozenset({"customer", "admin", "gateway"})

ALLOWED: Final[dict[str, frozenset[Party]]] = {
    "CreateProduct": _KEEPERS,
    "GetProduct": _READERS,
    "UpdateProduct": _KEEPERS,
    "DeleteProduct": _KEEPERS,
    "ListProducts": _READERS,
    "BatchGetProducts": _READERS | {"order"},
    "BatchUpsertProducts": _KEEPERS | {"cli"},
    "AdjustStock": _KEEPERS,
    "GetReservation": _KEEPERS | {"order"},
}

QUANTITY_MAX: Final = 1_000_000
ITEMS_MAX: Final = 1000
LINES_MAX: Final = 2000  # of all orders in one transaction
LINES_UNKNOWN: Final = 50  # what a fact that does not say its lines is taken to have


class InventoryHandler(InventoryServiceServicer):
    """Turns messages into calls of Catalogue and Warehouse, and products into messages."""

    def __init__(self, catalogue: Catalogue, warehouse: Warehouse, currency: str) -> None:
        self._catalogue = catalogue
        self._warehouse = warehouse
        self._currency = currency

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Any) -> pb.Product:
        return _message(await self._catalogue.create(self._edit(request), str(caller())))

    async def GetProduct(self, request: pb.ProductID, context: Any) -> pb.Product:
        return _message(await self._catalogue.get(request.id))

    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Any) -> pb.Product:
        expected = request.expected_version if request.HasField("expected_version") else None
        edit = self._edit(request)
        return _message(await self._catalogue.edit(request.id, edit, str(caller()), expected))

    async def DeleteProduct(
        self, request: pb.DeleteProductRequest, context: Any
    ) -> pb.DeleteProductResponse:
        expected = request.expected_version if request.HasField("expected_version") else None
        erased = await self._catalogue.remove(request.id, str(caller()), expected)
        message = "The product is deleted." if erased else "The product has history: it is retired."
        return pb.DeleteProductResponse(message=message)

    async def ListProducts(
        self, request: pb.ListProductsRequest, context: Any
    ) -> pb.ListProductsResponse:
        products, page, limit, total = await self._catalogue.page(
            category=request.category, text=request.q.strip(), sort=request.sort,
            page=request.page, limit=request.limit,
        )  # fmt: skip
        return pb.ListProductsResponse(
            products=map(_message, products), page=page, limit=limit, total=total
        )

    async def BatchGetProducts(
        self, request: pb.BatchGetProductsRequest, context: Any
    ) -> pb.BatchGetProductsResponse:
        found = await self._catalogue.find(list(dict.fromkeys(request.ids)))
        return pb.BatchGetProductsResponse(products=map(_message, found.values()))

    async def BatchUpsertProducts(
        self, request: pb.BatchUpsertProductsRequest, context: Any
    ) -> pb.BatchUpsertProductsResponse:
        edits = [self._checked(product) for product in request.products]
        fit = [edit for edit in edits if isinstance(edit, Edit)]
        results = iter(await self._catalogue.upsert(fit, str(caller())))
        answer = pb.BatchUpsertProductsResponse()
        for edit in edits:
            result = next(results) if isinstance(edit, Edit) else edit
            if isinstance(result, Exception):
                answer.results.add().error.CopyFrom(status_of(result))
            else:
                answer.results.add(id=result[0], created=result[1])
        return answer

    async def AdjustStock(self, request: pb.AdjustStockRequest, context: Any) -> pb.Product:
        product = await self._catalogue.adjust(
            request.id, request.delta, str(caller()), request.reason, request.idempotency_key
        )
        return _message(product)

    async def GetReservation(
        self, request: pb.GetReservationRequest, context: Any
    ) -> pb.Reservation:
        found = await self._warehouse.reservation(request.order_id)
        items = (pb.ReservedItem(product_id=p, quantity=q) for p, q in found.items.items())
        return pb.Reservation(
            order_id=found.order_id, state=found.state, items=items, reason=found.reason
        )

    def _edit(self, request: pb.CreateProductRequest | pb.UpdateProductRequest) -> Edit:
        """Returns what the request says; what it does not say is None."""
        names = ("name", "description", "category", "sku", "stock")
        said = {field.name for field, _ in request.ListFields()} | {
            name for name in names if request.DESCRIPTOR.fields_by_name[name].has_presence
            and request.HasField(name)  # type: ignore[arg-type]
        }  # fmt: skip
        values = {name: getattr(request, name) for name in names if name in said}
        return Edit(**values, price=self._price(request))

    def _price(self, request: pb.CreateProductRequest | pb.UpdateProductRequest) -> Money | None:
        if not request.HasField("price"):
            return None
        if request.price.currency not in ("", self._currency):
            wrong = Violation("price.currency", f"must be {self._currency}")
            raise Invalid("this shop has one currency", [wrong])
        return Money(request.price.minor, self._currency)

    def _checked(self, request: pb.CreateProductRequest) -> Edit | Invalid:
        try:
            return self._edit(validated(request))
        except Invalid as refusal:
            return refusal


class OrderListener:
    """Takes the orders' facts into the warehouse, a batch at a time, in their order."""

    SUBJECTS: Final = ("order.>",)
    FACTS: Final[dict[str, type[OrderFact]]] = {
        fact.subject: fact for fact in (OrderCreated, OrderCancelled, OrderCompleted)
    }

    def __init__(self, warehouse: Warehouse, dead: DeadLetters) -> None:
        self._warehouse = warehouse
        self._dead = dead

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        read = [await self._read(delivery) for delivery in deliveries]
        for group in _groups([fact for fact in read if fact is not None]):
            await self._warehouse.settle(group)

    async def _read(self, delivery: Delivery) -> OrderFact | Unfit | None:
        """Returns the fact; one that cannot be meant is kept as a dead letter.

        A creation that says whose it is becomes Unfit, so that its order hears of it.
        """
        try:
            fact = msgspec.json.decode(delivery.payload, type=self.FACTS[delivery.subject])
            _check(fact)
        except (KeyError, ValueError, RecursionError) as failure:
            await self._dead.keep(delivery, str(failure))
            order_id = _order_id(delivery.payload)
            created = delivery.subject == OrderCreated.subject
            return Unfit(order_id) if order_id and created else None
        return fact


def _groups(facts: Sequence[OrderFact | Unfit]) -> Iterator[list[OrderFact | Unfit]]:
    """Yields the facts in groups whose lines one transaction can write in its time."""
    group: list[OrderFact | Unfit] = []
    lines = 0
    for fact in facts:
        more = len(fact.items) if isinstance(fact, OrderCreated) else LINES_UNKNOWN
        if group and lines + more > LINES_MAX:
            yield group
            group, lines = [], 0
        group.append(fact)
        lines += more
    if group:
        yield group


def _check(fact: OrderFact) -> None:
    if not is_id(fact.order_id):
        raise ValueError("order_id is no id")
    if not isinstance(fact, OrderCreated):
        return
    if not 1 <= len(fact.items) <= ITEMS_MAX:
        raise ValueError(f"items must be 1 to {ITEMS_MAX}")
    for item in fact.items:
        if not is_id(item.product_id) or not 1 <= item.quantity <= QUANTITY_MAX:
            raise ValueError("an item has no product's id, or no sensible quantity")


def _order_id(payload: bytes) -> str:
    try:
        order_id = msgspec.json.decode(payload, type=OrderFact).order_id
    except (msgspec.DecodeError, RecursionError):
        return ""
    return order_id if is_id(order_id) else ""


def _message(product: Product) -> pb.Product:
    price = money_pb2.Money(minor=product.price.minor, currency=product.price.currency)
    return pb.Product(
        id=product.id, name=product.name, description=product.description,
        category=product.category, stock=product.stock, sku=product.sku, price=price,
        version=product.version, created_at=rfc3339(product.created_at),
        updated_at=rfc3339(product.updated_at),
    )  # fmt: skip

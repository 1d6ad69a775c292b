"""A catalogue in a dictionary."""

from dataclasses import dataclass, field
from typing import Any

from mercato.kernel.errors import Conflict, Forbidden, NotFound, Stale, Violation
from mercato.kernel.identity import new_id
from mercato.pb import inventory_pb2, inventory_pb2_grpc, money_pb2
from tests.gateway.fakes.service import NOW, Context, Service


class OutOfDate(Stale):
    pass


@dataclass
class FakeInventory(Service, inventory_pb2_grpc.InventoryServiceServicer):
    products: dict[str, inventory_pb2.Product] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    async def CreateProduct(
        self, request: inventory_pb2.CreateProductRequest, context: Context
    ) -> inventory_pb2.Product:
        self.note("CreateProduct")
        if request.sku and any(p.sku == request.sku for p in self.products.values()):
            raise Conflict("the sku is taken", [Violation("sku", "is taken")])
        return self.add(
            name=request.name, description=request.description, category=request.category,
            stock=request.stock, sku=request.sku, price=request.price,
        )  # fmt: skip

    def add(self, **given: Any) -> inventory_pb2.Product:
        given.setdefault("price", money_pb2.Money(minor=1999, currency="EUR"))
        product = inventory_pb2.Product(
            id=new_id(), version=1, created_at=NOW, updated_at=NOW, **given
        )
        self.products[product.id] = product
        return product

    async def GetProduct(
        self, request: inventory_pb2.ProductID, context: Context
    ) -> inventory_pb2.Product:
        self.note("GetProduct")
        return self._product(request.id)

    async def UpdateProduct(
        self, request: inventory_pb2.UpdateProductRequest, context: Context
    ) -> inventory_pb2.Product:
        self.note("UpdateProduct")
        product = self._product(request.id)
        self._expect(product, request)
        for name in ("name", "description", "category", "stock", "sku"):
            if request.HasField(name):
                setattr(product, name, getattr(request, name))
        if request.HasField("price"):
            product.price.CopyFrom(request.price)
        product.version += 1
        return product

    async def DeleteProduct(
        self, request: inventory_pb2.DeleteProductRequest, context: Context
    ) -> inventory_pb2.DeleteProductResponse:
        self.note("DeleteProduct")
        self._expect(self._product(request.id), request)
        del self.products[request.id]
        return inventory_pb2.DeleteProductResponse(message="deleted")

    async def ListProducts(
        self, request: inventory_pb2.ListProductsRequest, context: Context
    ) -> inventory_pb2.ListProductsResponse:
        self.note("ListProducts")
        chosen = [p for p in self.products.values() if request.category in ("", p.category)]
        chosen = [p for p in chosen if request.q.lower() in p.name.lower()]
        first = (request.page - 1) * request.limit
        return inventory_pb2.ListProductsResponse(
            products=chosen[first : first + request.limit],
            page=request.page, limit=request.limit, total=len(chosen),
        )  # fmt: skip

    async def BatchGetProducts(
        self, request: inventory_pb2.BatchGetProductsRequest, context: Context
    ) -> inventory_pb2.BatchGetProductsResponse:
        self.note("BatchGetProducts")
        self.batches.append(len(request.ids))
        found = [self.products[each] for each in request.ids if each in self.products]
        return inventory_pb2.BatchGetProductsResponse(products=found)

    async def BatchUpsertProducts(
        self, request: inventory_pb2.BatchUpsertProductsRequest, context: Context
    ) -> inventory_pb2.BatchUpsertProductsResponse:
        raise Forbidden("the gateway never asks for this")

    async def AdjustStock(
        self, request: inventory_pb2.AdjustStockRequest, context: Context
    ) -> inventory_pb2.Product:
        self.note("AdjustStock")
        product = self._product(request.id)
        if product.stock + request.delta < 0:
            raise Conflict("there is not that much stock")
        product.stock += request.delta
        product.version += 1
        self.keys.append(request.idempotency_key)
        return product

    async def GetReservation(
        self, request: inventory_pb2.GetReservationRequest, context: Context
    ) -> inventory_pb2.Reservation:
        raise Forbidden("the gateway never asks for this")

    def _product(self, product_id: str) -> inventory_pb2.Product:
        if product_id not in self.products:
            raise NotFound("there is no such product")
        return self.products[product_id]

    def _expect(self, product: inventory_pb2.Product, request: Any) -> None:
        if request.HasField("expected_version") and request.expected_version != product.version:
            raise OutOfDate(f"the product is at version {product.version} by now")

"""/api/inventory: the catalogue and its stock."""

from typing import Any

import grpc
import msgspec
from msgspec import UNSET

from mercato.gateway.catalogue import Catalogue, Page
from mercato.gateway.listings import Listed
from mercato.gateway.operation import Who, operation
from mercato.gateway.product_shapes import (
    IfMatch,
    IfNoneMatch,
    Message,
    NewProduct,
    Product,
    ProductChange,
    ProductListing,
    ProductReplacement,
    Products,
    StockChange,
    StockHeaders,
)
from mercato.gateway.reply import Reply, encode, reply
from mercato.gateway.shapes import (
    ById,
    amount_of,
)
from mercato.kernel.identity import Caller
from mercato.pb import inventory_pb2, inventory_pb2_grpc
from mercato.platform.rpc import Channels


class Inventory:
    """What is for sale, at what price, and how much of it is there."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._inventory = inventory_pb2_grpc.InventoryServiceStub(channel)
        self.catalogue = Catalogue(channels, self._inventory, _page, self._listed)

    @operation("GET", "/api/inventory", Who.ANYONE, Products)
    async def browse(self, query: ProductListing) -> Reply:
        """List products.

        By category, by text, sorted and in pages.
        """
        return await self.catalogue.lists.page(query)

    @operation(
        "GET", "/api/inventory/{id}", Who.ANYONE, Product, refusals=[304], answers_with=["ETag"]
    )
    async def get(self, path: ById, headers: IfNoneMatch) -> Reply:
        """Read a product."""
        page = await self.catalogue.page(path.id.lower())
        return page.answer(headers.tags)

    @operation(
        "POST", "/api/inventory", Who.ADMIN, Product,
        status=201, refusals=[409], answers_with=["Location", "ETag"], scope="catalogue:write",
    )  # fmt: skip
    async def create(self, caller: Caller, body: NewProduct) -> Reply:
        """Add a product."""
        request = inventory_pb2.CreateProductRequest(**_given(body))
        product = await self._channels.call(
            self._inventory.CreateProduct, request, speaks_for=caller
        )
        return _shown(self.catalogue.wrote(product), 201, location=f"/api/inventory/{product.id}")

    @operation(
        "PUT", "/api/inventory/{id}", Who.ADMIN, Product,
        refusals=[409, 412], answers_with=["ETag"], scope="catalogue:write",
    )  # fmt: skip
    async def replace(
        self, caller: Caller, path: ById, headers: IfMatch, body: ProductReplacement
    ) -> Reply:
        """Replace a product.

        What the body leaves out is emptied; only `stock` stays as it is, since orders move it.
        """
        return await self._update(caller, path, headers, body)

    @operation(
        "PATCH", "/api/inventory/{id}", Who.ADMIN, Product,
        refusals=[409, 412], answers_with=["ETag"], scope="catalogue:write",
    )  # fmt: skip
    async def change(
        self, caller: Caller, path: ById, headers: IfMatch, body: ProductChange
    ) -> Reply:
        """Change some fields of a product."""
        return await self._update(caller, path, headers, body)

    @operation(
        "DELETE",
        "/api/inventory/{id}",
        Who.ADMIN,
        Message,
        refusals=[409, 412],
        scope="catalogue:write",
    )
    async def delete(self, caller: Caller, path: ById, headers: IfMatch) -> Reply:
        """Take a product out of the catalogue.

        One that was ever sold is retired and kept for the books.
        """
        request = inventory_pb2.DeleteProductRequest(
            id=path.id.lower(), expected_version=headers.version
        )
        answer = await self._channels.call(
            self._inventory.DeleteProduct, request, speaks_for=caller
        )
        self.catalogue.forget(request.id)
        return reply(Message(answer.message))

    @operation(
        "POST", "/api/inventory/{id}/stock", Who.ADMIN, Product,
        refusals=[409], answers_with=["ETag"], scope="catalogue:write",
    )  # fmt: skip
    async def adjust(
        self, caller: Caller, path: ById, headers: StockHeaders, body: StockChange
    ) -> Reply:
        """Change the stock by a number of units.

        The safe way to restock beside running sales.
        """
        request = inventory_pb2.AdjustStockRequest(
            id=path.id.lower(), delta=body.delta.units, reason=body.reason,
            idempotency_key=headers.key or "",
        )  # fmt: skip
        product = await self._channels.call(self._inventory.AdjustStock, request, speaks_for=caller)
        return _shown(self.catalogue.wrote(product))

    async def _listed(self, query: ProductListing) -> Listed:
        request = inventory_pb2.ListProductsRequest(**msgspec.structs.asdict(query))
        found = await self._channels.call(self._inventory.ListProducts, request)
        products = [_product(each) for each in found.products]
        body = encode(Products(products, query.page, query.limit, found.total))
        return Listed(body, frozenset(each.id for each in products))

    async def _update(
        self, caller: Caller, path: ById, headers: IfMatch,
        body: ProductReplacement | ProductChange,
    ) -> Reply:  # fmt: skip
        request = inventory_pb2.UpdateProductRequest(
            id=path.id.lower(), expected_version=headers.version, **_given(body)
        )
        product = await self._channels.call(
            self._inventory.UpdateProduct, request, speaks_for=caller
        )
        return _shown(self.catalogue.wrote(product))


def _given(body: msgspec.Struct) -> dict[str, Any]:
    """Returns the fields that the client gave, as the service's message takes them."""
    fields = msgspec.structs.asdict(body)
    given = {name: value for name, value in fields.items() if value is not UNSET}
    if "price" in given:
        given["price"] = given["price"].message
    return given


def _product(product: inventory_pb2.Product) -> Product:
    return Product(
        product.id, product.name, product.description, product.category, product.stock,
        amount_of(product.price), product.price.currency, product.version,
        product.created_at, product.updated_at, product.sku or UNSET,
    )  # fmt: skip


def _page(product: inventory_pb2.Product) -> Page:
    return Page.of(product.version, _product(product))


def _shown(page: Page, status: int = 200, **headers: str) -> Reply:
    return Reply(page.body, status, etag=page.etag, cache_control="no-cache", **headers)

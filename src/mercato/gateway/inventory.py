"""/api/inventory: the catalogue and its stock."""

import re
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import grpc
import msgspec
from msgspec import UNSET, Meta, UnsetType

from mercato.gateway.catalogue import Catalogue, Page
from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import (
    EXAMPLE_ID,
    Answer,
    ById,
    Change,
    Key,
    Parameters,
    Price,
    Request,
    amount_of,
    matching,
)
from mercato.kernel.errors import Stale
from mercato.kernel.identity import Caller
from mercato.pb import inventory_pb2, inventory_pb2_grpc
from mercato.platform.rpc import Channels

VERSION_MAX: Final = 2**63 - 1

Name = Annotated[
    str,
    matching(
        r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*", "must be one line, and not blank",
        min_length=1, max_length=200, examples=["Coffee mug"],
    ),
]  # fmt: skip
Description = Annotated[str, Meta(max_length=5000, examples=["White, 300 ml."])]
Category = Annotated[str, Meta(max_length=100, examples=["kitchen"])]
Units = Annotated[int, Meta(ge=0, le=1_000_000_000, examples=[100])]
Sku = Annotated[
    str,
    matching("^[!-~]*", "must be printable, without spaces", max_length=64, examples=["MUG-1"]),
]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_TAG = r'(W/)?"[!#-~]*"'
Sort = Literal[
    "", "name", "-name", "price", "-price", "stock", "-stock", "created_at", "-created_at",
    "updated_at", "-updated_at",
]  # fmt: skip


class NewProduct(Request, frozen=True):
    name: Name
    price: Price
    description: Description = ""
    category: Category = ""
    stock: Units = 0
    sku: Sku = ""


class ProductReplacement(Request, frozen=True):
    """The whole product; what is left out is emptied, but for `stock`, which orders move."""

    name: Name
    price: Price
    description: Description = ""
    category: Category = ""
    sku: Sku = ""
    stock: Units | UnsetType = UNSET


class ProductChange(Request, frozen=True):
    """What is left out stays as it is."""

    name: Name | UnsetType = UNSET
    price: Price | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    category: Category | UnsetType = UNSET
    sku: Sku | UnsetType = UNSET
    stock: Units | UnsetType = UNSET


class StockChange(Request, frozen=True):
    delta: Change
    reason: Annotated[str, Meta(min_length=1, max_length=200, examples=["delivery 4711"])]


class ProductListing(Parameters, frozen=True):
    category: Category = ""
    q: Annotated[str, Meta(max_length=200, description="A text to look for.")] = ""
    sort: Annotated[Sort, Meta(description="`-` turns it round; else newest or best first.")] = ""
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class IfNoneMatch(Parameters, frozen=True):
    tags: Annotated[
        str, Meta(description="The ETag of what you have; 304 when it is still so.")
    ] = msgspec.field(default="", name="if-none-match")


class IfMatch(Parameters, frozen=True):
    tag: Annotated[
        str,
        matching(
            rf"^(\*|{_TAG})?",
            'must be one ETag, such as "3", or *',
            description="The ETag that you read; 412 when it is another one by now.",
        ),
    ] = msgspec.field(default="", name="if-match")

    @property
    def version(self) -> int | None:
        """The version that the caller expects; raises Stale for a tag that is no version."""
        if self.tag in ("", "*"):
            return None
        found = re.fullmatch(r'"(\d{1,19})"', self.tag)
        if found is None or int(found[1]) > VERSION_MAX:
            raise Stale("If-Match is not the product's present ETag")
        return int(found[1])


class StockHeaders(Parameters, frozen=True):
    key: (
        Annotated[
            Key, Meta(description="The same key is the same change, however often it is sent.")
        ]
        | UnsetType
    ) = msgspec.field(default=UNSET, name="idempotency-key")


class Product(Answer, frozen=True):
    id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    name: str
    description: str
    category: str
    stock: int
    price: Annotated[Decimal, Meta(examples=[19.99])]
    currency: Annotated[str, Meta(description="ISO 4217.", examples=["EUR"])]
    version: int
    created_at: Time
    updated_at: Time
    sku: str | UnsetType = UNSET


class Products(Answer, frozen=True):
    products: list[Product]
    page: int
    limit: int
    total: int


class Message(Answer, frozen=True):
    message: str


class Inventory:
    """What is for sale, at what price, and how much of it is there."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._inventory = inventory_pb2_grpc.InventoryServiceStub(channel)
        self.catalogue = Catalogue(channels, self._inventory, _page)

    @operation("GET", "/api/inventory", Who.ANYONE, Products)
    async def browse(self, query: ProductListing) -> Reply:
        """List products.

        By category, by text, sorted and in pages.
        """
        request = inventory_pb2.ListProductsRequest(**msgspec.structs.asdict(query))
        found = await self._channels.call(self._inventory.ListProducts, request)
        products = [_product(each) for each in found.products]
        answer = Products(products, query.page, query.limit, found.total)
        return reply(answer, cache_control="no-cache")

    @operation(
        "GET", "/api/inventory/{id}", Who.ANYONE, Product, refusals=[304], answers_with=["ETag"]
    )
    async def get(self, path: ById, headers: IfNoneMatch) -> Reply:
        """Read a product."""
        page = await self.catalogue.page(path.id.lower())
        if headers.tags and _matches(headers.tags, page.etag):
            return Reply(b"", 304, etag=page.etag, cache_control="no-cache")
        return _shown(page)

    @operation(
        "POST", "/api/inventory", Who.ADMIN, Product,
        status=201, refusals=[409], answers_with=["Location", "ETag"],
    )  # fmt: skip
    async def create(self, caller: Caller, body: NewProduct) -> Reply:
        """Add a product."""
        request = inventory_pb2.CreateProductRequest(**_given(body))
        product = await self._channels.call(
            self._inventory.CreateProduct, request, speaks_for=caller
        )
        return _shown(self.catalogue.know(product), 201, location=f"/api/inventory/{product.id}")

    @operation(
        "PUT", "/api/inventory/{id}", Who.ADMIN, Product,
        refusals=[409, 412], answers_with=["ETag"],
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
        refusals=[409, 412], answers_with=["ETag"],
    )  # fmt: skip
    async def change(
        self, caller: Caller, path: ById, headers: IfMatch, body: ProductChange
    ) -> Reply:
        """Change some fields of a product."""
        return await self._update(caller, path, headers, body)

    @operation("DELETE", "/api/inventory/{id}", Who.ADMIN, Message, refusals=[409, 412])
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
        refusals=[409], answers_with=["ETag"],
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
        return _shown(self.catalogue.know(product))

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
        return _shown(self.catalogue.know(product))


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


def _matches(tags: str, etag: str) -> bool:
    """Tells whether an If-None-Match names `etag`, by the weak comparison (RFC 9110 13.1.2)."""
    named = (tag.strip().removeprefix("W/") for tag in tags.split(","))
    return any(tag in ("*", etag) for tag in named)

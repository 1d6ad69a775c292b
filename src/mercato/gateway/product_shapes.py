"""What clients send and get of products."""

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mercato.gateway.shapes import (
    EXAMPLE_ID,
    Answer,
    Change,
    Key,
    Parameters,
    Price,
    Request,
    matching,
    text,
)
from mercato.kernel.errors import Stale

VERSION_MAX: Final = 2**63 - 1

Name = Annotated[
    str,
    matching(
        r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*", "must be one line, and not blank",
        min_length=1, max_length=200, examples=["Coffee mug"],
    ),
]  # fmt: skip
Description = Annotated[str, text(5000, examples=["White, 300 ml."])]
Category = Annotated[str, text(100, examples=["kitchen"])]
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
    reason: Annotated[str, text(200, min_length=1, examples=["delivery 4711"])]


class ProductListing(Parameters, frozen=True):
    category: Category = ""
    q: Annotated[str, text(200, description="A text to look for.")] = ""
    sort: Annotated[Sort, Meta(description="`-` turns it round; else newest or best first.")] = ""
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class IfNoneMatch(Parameters, frozen=True):
    tags: Annotated[
        str, Meta(description="The ETag of what you have; 304 when it is still so.")
    ] = msgspec.field(default="", name="if-none-match")


class IfMatch(Parameters, frozen=True):
    tag: (
        Annotated[
            str,
            matching(
                rf"^(\*|{_TAG})",
                'must be one ETag, such as "3", or *',
                description="The ETag that you read; 412 when it is another one by now.",
            ),
        ]
        | UnsetType
    ) = msgspec.field(default=UNSET, name="if-match")

    @property
    def version(self) -> int | None:
        """The version that the caller expects; raises Stale for a tag that is no version."""
        if self.tag is UNSET or self.tag == "*":
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

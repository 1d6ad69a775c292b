"""What clients send and get of orders."""

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mercato.gateway.shapes import (
    EXAMPLE_ID,
    Amount,
    Answer,
    Id,
    IdOrNone,
    Key,
    Parameters,
    Request,
)

WAIT_S_MAX: Final = 10

_WAIT: Final = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?=$|[,;])', re.IGNORECASE)

Status = Literal["PENDING", "COMPLETED", "CANCELLED"]
StatusOrNone = Literal["", "PENDING", "COMPLETED", "CANCELLED"]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class NewLine(Request, frozen=True):
    product_id: Id
    quantity: Annotated[int, Meta(ge=1, le=10_000, examples=[2])]


class NewOrder(Request, frozen=True):
    """What is wanted. Lines of one product are summed; prices are the catalogue's."""

    items: Annotated[list[NewLine], Meta(min_length=1, max_length=100)]
    total: Amount | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET


class PlacingHeaders(Parameters, frozen=True):
    key: (
        Annotated[Key, Meta(description="The same key and body are the same order for ever.")]
        | UnsetType
    ) = msgspec.field(default=UNSET, name="idempotency-key")
    prefer: Annotated[
        str,
        Meta(
            description="`wait=N`: hold the answer until the stock decision, N <= 10 seconds.",
            examples=["wait=5"],
        ),
    ] = ""

    @property
    def wait_s(self) -> int | None:
        found = _WAIT.search(self.prefer)
        return min(int(found[1]), WAIT_S_MAX) if found else None


class NewStatus(Request, frozen=True):
    status: Status


class OrderListing(Parameters, frozen=True):
    user_id: Annotated[IdOrNone, Meta(description="Whose; your own when left out.")] = ""
    status: StatusOrNone = ""
    cursor: Annotated[IdOrNone, Meta(description="The `next_cursor` of the page before.")] = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class Line(msgspec.Struct, frozen=True):
    product_id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    name: str
    quantity: int
    unit_price: Annotated[Decimal, Meta(examples=[19.99])]


class Order(Answer, frozen=True, kw_only=True):
    id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    user_id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    items: list[Line]
    total: Annotated[Decimal, Meta(examples=[39.98])]
    currency: Annotated[str, Meta(description="ISO 4217.", examples=["EUR"])]
    status: Annotated[str, Meta(description="`PENDING`, `COMPLETED` or `CANCELLED`.")]
    stock: Annotated[str, Meta(description="`AWAITING`, `RESERVED`, `REJECTED` or `RELEASED`.")]
    reason: Annotated[str, Meta(description="Why it was cancelled.")] | UnsetType = UNSET
    created_at: Time
    updated_at: Time


class OrderWithMessage(Order, frozen=True, kw_only=True):
    message: str


class OrderPage(Answer, frozen=True):
    orders: list[Order]
    next_cursor: Annotated[str, Meta(description="Empty: that was the last page.")]


class Entry(msgspec.Struct, frozen=True):
    at: Time
    by: str
    action: str
    detail: str


class History(Answer, frozen=True):
    entries: list[Entry]

"""An order: what may happen to it, in which state, and what is told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from mercato.events import Item, OrderCancelled, OrderCompleted, OrderCreated
from mercato.kernel.errors import Conflict, Invalid, Violation
from mercato.kernel.facts import Fact, event_id
from mercato.kernel.identity import new_id
from mercato.kernel.money import MINOR_MAX, Money, total

QUANTITY_MAX = 10_000


class Status(StrEnum):
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Stock(StrEnum):
    AWAITING = "AWAITING"
    RESERVED = "RESERVED"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"


class UnknownProduct(Invalid):
    """An ordered product is not, or no longer, in the catalogue."""


class TotalMismatch(Conflict):
    """The customer saw another total than the one that the catalogue makes."""


class IdempotencyKeyReused(Invalid):
    """The key has been used for another order."""


class OrderNotCancellable(Conflict):
    """Only a pending order can be cancelled."""


class OrderNotCompletable(Conflict):
    """Only a pending order whose stock is reserved can be completed."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A product as an order needs it."""

    name: str
    price: Money


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to order: (product id, quantity) as they were sent."""

    user_id: str
    items: Sequence[tuple[str, int]]
    idempotency_key: str | None
    fingerprint: str
    expected_total: Money | None = None


@dataclass(frozen=True, slots=True)
class Line:
    product_id: str
    name: str
    quantity: int
    unit_price: Money


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the order's history; `by` is a caller or the part of the platform that acted."""

    at: datetime
    by: str
    action: str
    detail: str = ""


@dataclass(slots=True)
class Telling:
    """What a change of an order has to tell: facts, mails, and which facts are now answered."""

    facts: list[Fact] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)


@dataclass
class Order:
    """One order; its methods are the only way from one state into another."""

    id: str
    user_id: str
    lines: list[Line]
    total: Money
    created_at: datetime
    updated_at: datetime
    idempotency_key: str | None
    fingerprint: str
    status: Status = Status.PENDING
    stock: Stock = Stock.AWAITING
    reason: str = ""
    version: int = 1
    history: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.telling = Telling()

    @classmethod
    def place(cls, draft: Draft, products: Mapping[str, Priced], now: datetime) -> "Order":
        """Returns the new order at the catalogue's prices.

        Raises UnknownProduct naming every item that is missing, TotalMismatch with both figures,
        Invalid when one product's quantities sum to too many.
        """
        _check_known(draft, products)
        lines = [
            Line(product_id, products[product_id].name, quantity, products[product_id].price)
            for product_id, quantity in _summed(draft.items).items()
        ]
        currency = lines[0].unit_price.currency
        price = total((line.unit_price.times(line.quantity) for line in lines), currency)
        _check_total(price, draft.expected_total)
        order = cls(
            new_id(), draft.user_id, lines, price, now, now,
            draft.idempotency_key, draft.fingerprint,
        )  # fmt: skip
        order.history.append(Entry(now, f"customer:{draft.user_id}", "placed", str(price)))
        items = tuple(Item(product_id=e.product_id, quantity=e.quantity) for e in lines)
        order.telling.facts.append(OrderCreated(order_id=order.id, items=items))
        return order

    def as_placed(self) -> "Order":
        """Returns the order as it was when it was placed: the same answer for the same key."""
        return replace(
            self, status=Status.PENDING, stock=Stock.AWAITING, reason="", version=1,
            updated_at=self.created_at, history=self.history[:1],
        )  # fmt: skip

    def stock_reserved(self, now: datetime) -> None:
        """Inventory holds the units. Whoever hears it twice, or too late, has nothing to do."""
        self._answers(OrderCreated.subject)
        if self.status is Status.PENDING and self.stock is Stock.AWAITING:
            self.stock = Stock.RESERVED
            self._note(now, "inventory", "stock reserved")
            self.telling.mails.append("order-confirmed")

    def stock_rejected(self, now: datetime, reason: str) -> None:
        """Inventory does not hold the units: the order is off."""
        self._answers(OrderCreated.subject)
        if self.stock is not Stock.AWAITING:
            return
        self.stock = Stock.REJECTED
        if self.status is Status.PENDING:
            self.status, self.reason = Status.CANCELLED, reason
            self.telling.mails.append("order-cancelled")
        self._note(now, "inventory", "stock rejected", reason)

    def stock_released(self, now: datetime) -> None:
        """Inventory holds nothing for this order any more."""
        self._answers(OrderCreated.subject, OrderCancelled.subject)
        if self.status is Status.CANCELLED and self.stock in (Stock.AWAITING, Stock.RESERVED):
            self.stock = Stock.RELEASED
            self._note(now, "inventory", "stock released")

    def stock_sold(self) -> None:
        """Inventory counts the units as sold."""
        self._answers(OrderCreated.subject, OrderCompleted.subject)

    def cancel(self, now: datetime, by: str, reason: str) -> None:
        """Calls the order off; cancelling a cancelled one again changes nothing.

        Raises OrderNotCancellable once it is completed.
        """
        if self.status is Status.CANCELLED:
            return
        if self.status is not Status.PENDING:
            raise OrderNotCancellable(f"order {self.id} is {self.status}")
        self.status, self.reason = Status.CANCELLED, reason
        self._note(now, by, "cancelled", reason)
        self.telling.facts.append(OrderCancelled(order_id=self.id, reason=reason))
        self.telling.mails.append("order-cancelled")

    def complete(self, now: datetime, by: str) -> None:
        """Delivers the order; completing a completed one again changes nothing.

        Raises OrderNotCompletable unless it is pending with its stock reserved.
        """
        if self.status is Status.COMPLETED:
            return
        if self.status is not Status.PENDING or self.stock is not Stock.RESERVED:
            raise OrderNotCompletable(f"order {self.id} is {self.status}, its stock {self.stock}")
        self.status = Status.COMPLETED
        self._note(now, by, "completed")
        self.telling.facts.append(OrderCompleted(order_id=self.id))
        self.telling.mails.append("order-completed")

    def _note(self, now: datetime, by: str, action: str, detail: str = "") -> None:
        self.version += 1
        self.updated_at = now
        self.history.append(Entry(now, by, action, detail))

    def _answers(self, *subjects: str) -> None:
        self.telling.answered += [event_id(self.id, subject) for subject in subjects]


def _summed(items: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Returns the quantity per product, in the order of their first mention."""
    quantities: dict[str, int] = {}
    for product_id, quantity in items:
        quantities[product_id] = quantities.get(product_id, 0) + quantity
    too_many = [
        Violation(f"items[{i}].quantity", f"sums to more than {QUANTITY_MAX} for this product")
        for i, (product_id, _) in enumerate(items)
        if quantities[product_id] > QUANTITY_MAX
    ]
    if too_many:
        raise Invalid("too many units of one product", too_many)
    return quantities


def _check_known(draft: Draft, products: Mapping[str, Priced]) -> None:
    missing = [
        Violation(f"items[{i}].product_id", "there is no such product")
        for i, (product_id, _) in enumerate(draft.items)
        if product_id not in products
    ]
    if missing:
        raise UnknownProduct("some products are not in the catalogue", missing)


def _check_total(price: Money, expected: Money | None) -> None:
    if price.minor > MINOR_MAX:
        raise Invalid("the order's total is too large", [Violation("items", "cost too much")])
    if expected is not None and expected != price:
        raise TotalMismatch(f"the total is {price}, not {expected}")

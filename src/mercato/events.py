"""Every fact that any service publishes: the story of an order, from top to bottom.

A customer registers. An order is created, and inventory answers: the stock is reserved, or it is
not. A reserved order is completed, and its stock is sold; or it is cancelled, and the stock goes
back. Facts only ever grow further fields; none is renamed, none is taken away.
"""

from dataclasses import dataclass
from typing import ClassVar

from mercato.kernel.facts import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRegistered(Fact):
    """Told by user; the welcome mail goes out."""

    subject: ClassVar[str] = "user.registered"
    user_id: str
    username: str

    @property
    def about(self) -> str:
        return self.user_id


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChanged(Fact):
    """Told by user when somebody's profile or password is another one."""

    subject: ClassVar[str] = "user.changed"
    user_id: str
    version: int

    @property
    def about(self) -> str:
        return f"{self.user_id}:{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductChanged(Fact):
    """Told by inventory when the catalogue's page of a product is another one."""

    subject: ClassVar[str] = "product.changed"
    urgent: ClassVar[bool] = False  # an import tells a hundred thousand of them
    product_id: str
    version: int

    @property
    def about(self) -> str:
        return f"{self.product_id}:{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFact(Fact):
    """What every fact of an order's life has."""

    order_id: str

    @property
    def about(self) -> str:
        return self.order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCreated(OrderFact):
    """Told by order, or by another program with just these fields; inventory holds the stock."""

    subject: ClassVar[str] = "order.created"
    answered: ClassVar[bool] = True
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StockReserved(OrderFact):
    """Told by inventory: all of the order's units are held for it."""

    subject: ClassVar[str] = "stock.reserved"
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StockRejected(OrderFact):
    """Told by inventory: none is held, and why (`out_of_stock`, `unknown_product`, ...)."""

    subject: ClassVar[str] = "stock.rejected"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled(OrderFact):
    """Told by order; inventory puts back what it held, or never takes it."""

    subject: ClassVar[str] = "order.cancelled"
    answered: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StockReleased(OrderFact):
    """Told by inventory: nothing is held for the order any more; `items` went back."""

    subject: ClassVar[str] = "stock.released"
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCompleted(OrderFact):
    """Told by order; inventory counts the held units as sold."""

    subject: ClassVar[str] = "order.completed"
    answered: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StockSold(OrderFact):
    """Told by inventory: the order's units are gone for good."""

    subject: ClassVar[str] = "stock.sold"


STREAM = "EVENTS"
SUBJECTS = ("order.>", "stock.>", "user.>", "product.>")

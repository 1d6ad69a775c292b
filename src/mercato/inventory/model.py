"""Products, their stock, and what becomes of an order's units: held, sold, released or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mercato.events import (
    Item,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    OrderFact,
    StockRejected,
    StockReleased,
    StockReserved,
    StockSold,
)
from mercato.kernel.errors import Conflict, Invalid, NotFound, Stale, Violation
from mercato.kernel.identity import new_id
from mercato.kernel.money import Money

STOCK_MAX = 1_000_000_000

OUT_OF_STOCK = "out_of_stock"
UNKNOWN_PRODUCT = "unknown_product"
INVALID_EVENT = "invalid_event"


class ProductNotFound(NotFound):
    """There is no such product, or it has been retired."""


class SkuTaken(Conflict):
    """Another product has this sku."""


class IdempotencyKeyReused(Invalid):
    """The key has been used for another adjustment."""


class InsufficientStock(Conflict):
    """There are fewer units than are to be taken away."""


class ProductChangedMeanwhile(Stale):
    """The product is not at the version that the caller knows."""


class Cause(StrEnum):
    """Why stock changed; with these, initial + restocked - held - sold = stock can be checked.

    `mercato verify --repair` explains with AUDIT what it found unexplained; no service writes it.
    """

    INITIAL = "initial"
    RESTOCKED = "restocked"  # by hand, in either direction
    HELD = "held"
    RELEASED = "released"
    ERASED = "erased"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Move:
    """A line of the ledger: `delta` units of a product, and why. Its id makes it happen once."""

    id: str
    product_id: str
    delta: int
    cause: Cause
    by: str
    reason: str = ""

    def same(self, told: "Move") -> None:
        """Raises IdempotencyKeyReused when `told`, under this move's id, is another one."""
        if (self.delta, self.reason) != (told.delta, told.reason):
            raise IdempotencyKeyReused("this Idempotency-Key has made another adjustment")


@dataclass(frozen=True, slots=True)
class Edit:
    """What shall be changed of a product; None leaves a field as it is."""

    name: str | None = None
    description: str | None = None
    category: str | None = None
    sku: str | None = None
    stock: int | None = None
    price: Money | None = None


@dataclass
class Product:
    """A product of the catalogue. `sku` may be empty; `stock` counts what can still be sold."""

    id: str
    name: str
    description: str
    category: str
    sku: str
    stock: int
    price: Money
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def __post_init__(self) -> None:
        self.moves: list[Move] = []

    @classmethod
    def create(cls, edit: Edit, by: str, now: datetime) -> "Product":
        """Returns a new product; `edit` must have a name and a price."""
        if edit.name is None or edit.price is None:
            raise Invalid("a product needs a name and a price")
        product = cls(
            new_id(), edit.name, edit.description or "", edit.category or "", edit.sku or "",
            edit.stock or 0, edit.price, now, now,
        )  # fmt: skip
        if product.stock:
            move_id = f"{product.id}:initial"
            product.moves.append(Move(move_id, product.id, product.stock, Cause.INITIAL, by))
        return product

    def edit(self, edit: Edit, by: str, now: datetime, *, expected_version: int | None) -> None:
        """Applies `edit`; raises ProductChangedMeanwhile."""
        self.expect(expected_version)
        for name in ("name", "description", "category", "sku", "price"):
            value = getattr(edit, name)
            if value is not None:
                setattr(self, name, value)
        self._changed(now)
        if edit.stock is not None and edit.stock != self.stock:
            move_id = f"{self.id}:edited:{self.version}"
            delta = edit.stock - self.stock
            self._move(Move(move_id, self.id, delta, Cause.RESTOCKED, by, "set by hand"))

    def adjust(self, move: Move, now: datetime) -> None:
        """Adds the move's units; raises InsufficientStock, Invalid above STOCK_MAX."""
        delta = move.delta
        if self.stock + delta < 0:
            raise InsufficientStock(f"there are {self.stock} units, {-delta} cannot be taken away")
        if self.stock + delta > STOCK_MAX:
            raise Invalid("too many units", [Violation("delta", f"makes more than {STOCK_MAX}")])
        self._changed(now)
        self._move(move)

    def expect(self, version: int | None) -> None:
        if version is not None and version != self.version:
            raise ProductChangedMeanwhile(f"the product is at version {self.version}")

    def _move(self, move: Move) -> None:
        self.stock += move.delta
        self.moves.append(move)

    def _changed(self, now: datetime) -> None:
        self.version += 1
        self.updated_at = now


class State(StrEnum):
    """Of an order's units. REJECTED and RELEASED orders hold none."""

    HELD = "HELD"
    SOLD = "SOLD"
    RELEASED = "RELEASED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Unfit:
    """An `order.created` that cannot be meant, of an order that can be told so."""

    order_id: str


@dataclass
class Reservation:
    """The inbox entry of an order, and the remembered answer to it."""

    order_id: str
    state: State
    items: dict[str, int]
    reason: str = ""

    def answer(self) -> OrderFact:
        if self.state is State.REJECTED:
            return StockRejected(order_id=self.order_id, reason=self.reason)
        items = tuple(Item(product_id=p, quantity=q) for p, q in self.items.items())
        if self.state is State.RELEASED:
            return StockReleased(order_id=self.order_id, items=items)
        return StockReserved(order_id=self.order_id, items=items)


@dataclass
class Desk:
    """Decides facts about orders, one after the other, all or nothing for each order.

    `reservations` are those known of the orders at hand, `stock` the units of every product that
    can be sold. What has to be written afterwards is in `touched`, `moves` and `answers`.
    """

    reservations: dict[str, Reservation]
    stock: dict[str, int]
    touched: dict[str, Reservation] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    answers: dict[str, OrderFact] = field(default_factory=dict)

    def settle(self, fact: OrderFact | Unfit) -> None:
        known = self.reservations.get(fact.order_id)
        if isinstance(fact, OrderCancelled):
            self._release(fact, known)
        elif isinstance(fact, OrderCompleted):
            self._sell(fact, known)
        elif known is not None:
            self._tell(known.answer())  # told again, never applied again
        elif isinstance(fact, OrderCreated):
            self._hold(fact)
        else:
            self._reject(fact.order_id, {}, INVALID_EVENT)

    def _hold(self, fact: OrderCreated) -> None:
        wanted: dict[str, int] = {}
        for item in fact.items:
            wanted[item.product_id] = wanted.get(item.product_id, 0) + item.quantity
        if any(product_id not in self.stock for product_id in wanted):
            self._reject(fact.order_id, wanted, UNKNOWN_PRODUCT)
        elif any(self.stock[product_id] < quantity for product_id, quantity in wanted.items()):
            self._reject(fact.order_id, wanted, OUT_OF_STOCK)
        else:
            self._book(held := Reservation(fact.order_id, State.HELD, wanted))
            self._move(fact.order_id, wanted, -1, Cause.HELD)
            self._tell(held.answer())

    def _release(self, fact: OrderCancelled, known: Reservation | None) -> None:
        if known is None:  # a tombstone: an order.created that comes late finds it
            self._book(known := Reservation(fact.order_id, State.RELEASED, {}))
        elif known.state is State.HELD:
            known.state = State.RELEASED
            self._book(known)
            self._move(fact.order_id, known.items, 1, Cause.RELEASED)
        if known.state is State.REJECTED:
            self._tell(StockReleased(order_id=fact.order_id))
        elif known.state is State.RELEASED:
            self._tell(known.answer())

    def _sell(self, fact: OrderCompleted, known: Reservation | None) -> None:
        if known is None or known.state not in (State.HELD, State.SOLD):
            return  # not to be answered: it is told again, and alarms when it goes on
        if known.state is State.HELD:
            known.state = State.SOLD
            self._book(known)
        self._tell(StockSold(order_id=fact.order_id))

    def _reject(self, order_id: str, items: dict[str, int], reason: str) -> None:
        self._book(Reservation(order_id, State.REJECTED, items, reason))
        self._tell(StockRejected(order_id=order_id, reason=reason))

    def _book(self, reservation: Reservation) -> None:
        self.reservations[reservation.order_id] = reservation
        self.touched[reservation.order_id] = reservation

    def _move(self, order_id: str, items: Mapping[str, int], sign: int, cause: Cause) -> None:
        for product_id, quantity in items.items():
            delta = sign * quantity
            if product_id in self.stock:  # what nobody asks for, or may sell, is not counted here
                self.stock[product_id] += delta
            move_id = f"{order_id}:{product_id}:{cause}"
            self.moves.append(Move(move_id, product_id, delta, cause, f"order:{order_id}"))

    def _tell(self, fact: OrderFact) -> None:
        self.answers[fact.id] = fact


def adjustment(product_id: str, delta: int, by: str, reason: str, key: str) -> Move:
    """Returns the move of a restock by hand; the same key is the same move."""
    move_id = f"{product_id}:adjusted:{key}"
    return Move(move_id, product_id, delta, Cause.RESTOCKED, by, reason)

"""The clients' own book: what they were promised, against which the databases are held."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

Lines = Mapping[str, int]  # units by product id


@dataclass(slots=True)
class Customer:
    """An account; its access token is renewed in a storm that lasts longer than tokens do."""

    id: str
    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Product:
    """A product that the storm has put on the shelf; `price` in minor units."""

    id: str
    price: int
    initial: int


@dataclass(slots=True)
class Placed:
    """An order as its client knows it; times in seconds since the storm began."""

    key: str
    customer: Customer
    lines: Lines
    began_s: float
    acknowledged_s: float = 0.0
    order_id: str = ""
    tries: int = 0
    cancelled: bool = False  # the client was told so
    completed: bool = False


@dataclass(slots=True)
class Restock:
    """Units that were added under an idempotency key; None until that was acknowledged."""

    key: str
    product_id: str
    delta: int
    acknowledged_s: float | None = None


@dataclass(slots=True)
class Book:
    """Everything the clients have done and have been told."""

    staff: list[Customer]  # the demo accounts, the admin first
    customers: list[Customer] = field(default_factory=list)
    products: dict[str, Product] = field(default_factory=dict)
    hot: str = ""  # the product that everybody wants
    orders: dict[str, Placed] = field(default_factory=dict)  # by idempotency key
    restocks: list[Restock] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)  # requests without an answer, by why
    repeats: int = 0  # requests repeated on purpose, after they had been answered
    contradictions: list[str] = field(default_factory=list)
    # (second, seconds it took) of each request that was answered 201 to an order
    answers: list[tuple[float, float]] = field(default_factory=list)

    @property
    def admin(self) -> Customer:
        return self.staff[0]

    def acknowledged(self) -> list[Placed]:
        return [order for order in self.orders.values() if order.order_id]

    def contradict(self, what: str) -> None:
        """Notes an answer that no client should ever get."""
        self.contradictions.append(what)

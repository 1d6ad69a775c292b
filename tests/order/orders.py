"""Drafts and orders for the tests of the order service."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mercato.kernel.identity import new_id
from mercato.kernel.money import Money
from mercato.order.model import Draft, Order, Priced

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LAMP, CHAIR = new_id(), new_id()
PRODUCTS = {LAMP: Priced("Lamp", Money(1999, "EUR")), CHAIR: Priced("Chair", Money(4500, "EUR"))}


def draft(
    *,
    user_id: str = "",
    items: Sequence[tuple[str, int]] = ((LAMP, 2),),
    key: str | None = None,
    fingerprint: str = "f",
    total: Money | None = None,
) -> Draft:
    return Draft(user_id or new_id(), items, key, fingerprint, total)


def placed(**wish: str) -> Order:
    return Order.place(draft(**wish), PRODUCTS, NOW)  # type: ignore[arg-type]

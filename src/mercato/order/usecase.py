"""What can be done with orders, and by whom."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from typing import Protocol

from mercato.events import OrderFact, StockRejected, StockReleased, StockReserved, StockSold
from mercato.kernel.errors import AppError, Forbidden, NotFound
from mercato.kernel.identity import Caller
from mercato.order.model import (
    Draft,
    IdempotencyKeyReused,
    Order,
    OrderNotCancellable,
    Priced,
    Status,
)

PAGE_DEFAULT = 20

CANCELLED_BY_CUSTOMER = "cancelled_by_customer"
CANCELLED_BY_SHOP = "cancelled_by_shop"
EXPIRED = "expired"


class Catalogue(Protocol):
    async def products(self, ids: Set[str]) -> Mapping[str, Priced]: ...


class Orders(Protocol):
    async def add(self, order: Order) -> Order:
        """Adds `order`, or returns the one that its key has placed before."""
        ...

    async def placed(self, user_id: str, idempotency_key: str) -> Order | None: ...

    async def find(self, ids: Sequence[str]) -> Mapping[str, Order]: ...

    async def page(self, user_id: str, status: str, before: str, limit: int) -> Sequence[Order]: ...

    async def held_longer_than(self, hold_s: int, count_max: int) -> Sequence[str]:
        """Returns ids of pending orders whose stock was reserved more than `hold_s` seconds ago."""
        ...

    async def update(self, order_id: str, change: Callable[[Order], None]) -> Order:
        """Applies `change` in a transaction; raises NotFound."""
        ...


class Ordering:
    """The verbs. Whoever asks for somebody else's order finds none."""

    def __init__(self, orders: Orders, catalogue: Catalogue, clock: Callable[[], datetime]) -> None:
        self._orders = orders
        self._catalogue = catalogue
        self._clock = clock

    async def place(self, draft: Draft) -> tuple[Order, bool]:
        """Returns the order as placed, and whether its key had placed it before.

        Raises UnknownProduct, TotalMismatch, IdempotencyKeyReused.
        """
        try:
            products = await self._catalogue.products({id for id, _ in draft.items})
            order = Order.place(draft, products, self._clock())
        except AppError:
            known = await self._known(draft)  # the price or the product may have changed since
            if known is None:
                raise
            return _replayed(known, draft), True
        stored = await self._orders.add(order)
        if stored is order:
            return order, False
        return _replayed(stored, draft), True

    async def get(self, order_id: str, asking: Caller) -> Order:
        """Returns the order; raises NotFound."""
        found = await self.find([(order_id, "" if asking.rules else asking.id)])
        if found[0] is None:
            raise NotFound("there is no such order")
        return found[0]

    async def find(self, wanted: Sequence[tuple[str, str]]) -> list[Order | None]:
        """Returns an order or None for each (order id, owner's id; empty: anybody's)."""
        found = await self._orders.find([order_id for order_id, _ in wanted])
        orders = [(found.get(order_id), owner) for order_id, owner in wanted]
        return [o if o is not None and owner in ("", o.user_id) else None for o, owner in orders]

    async def page(
        self, asking: Caller, user_id: str, status: str, cursor: str, limit: int
    ) -> tuple[Sequence[Order], str]:
        """Returns at most `limit` orders, newest first, and the cursor of the next page."""
        owner = user_id or ("" if asking.rules else asking.id)
        if owner and not asking.owns(owner):
            raise Forbidden("these are somebody else's orders")
        limit = limit or PAGE_DEFAULT
        orders = await self._orders.page(owner, status, cursor, limit + 1)
        more = len(orders) > limit
        return orders[:limit], orders[limit - 1].id if more else ""

    async def set_status(self, order_id: str, status: Status, asking: Caller) -> Order:
        """Cancels or completes; setting the status that an order has changes nothing.

        Raises NotFound, Forbidden, OrderNotCancellable, OrderNotCompletable.
        """
        await self.get(order_id, asking)
        now = self._clock()
        if status is Status.CANCELLED:
            reason = CANCELLED_BY_SHOP if asking.rules else CANCELLED_BY_CUSTOMER
            return await self._orders.update(order_id, lambda o: o.cancel(now, str(asking), reason))
        if not asking.rules:
            raise Forbidden(f"a customer may not set an order {status}")
        if status is Status.COMPLETED:
            return await self._orders.update(order_id, lambda o: o.complete(now, str(asking)))
        return await self._orders.update(order_id, _stay_pending)

    async def expire(self, hold_s: int, count_max: int) -> int:
        """Calls off pending orders that have held their stock for longer than `hold_s` seconds.

        Looks at `count_max` of them at most, the longest held first, and returns at how many. One
        that is completed in the same moment stays so.
        """
        held = await self._orders.held_longer_than(hold_s, count_max)
        await asyncio.gather(*(self._expire(order_id) for order_id in held))
        return len(held)

    async def heard(self, fact: OrderFact, at: datetime | None = None) -> None:
        """Takes inventory's answer in; an answer about an order that is not ours is nobody's.

        What was heard together is heard `at` one moment, by default now.
        """
        now = at or self._clock()
        changes: dict[type[OrderFact], Callable[[Order], None]] = {
            StockReserved: lambda order: order.stock_reserved(now),
            StockRejected: lambda order: order.stock_rejected(now, getattr(fact, "reason", "")),
            StockReleased: lambda order: order.stock_released(now),
            StockSold: lambda order: order.stock_sold(),
        }
        try:
            await self._orders.update(fact.order_id, changes[type(fact)])
        except NotFound:
            return

    async def _expire(self, order_id: str) -> None:
        now = self._clock()
        with contextlib.suppress(OrderNotCancellable, NotFound):
            await self._orders.update(order_id, lambda o: o.cancel(now, "order", EXPIRED))

    async def _known(self, draft: Draft) -> Order | None:
        if draft.idempotency_key is None:
            return None
        return await self._orders.placed(draft.user_id, draft.idempotency_key)


def _replayed(order: Order, draft: Draft) -> Order:
    if order.fingerprint != draft.fingerprint:
        raise IdempotencyKeyReused("this Idempotency-Key has placed another order")
    return order.as_placed()


def _stay_pending(order: Order) -> None:
    if order.status is not Status.PENDING:
        raise OrderNotCancellable(f"order {order.id} is {order.status} and stays so")

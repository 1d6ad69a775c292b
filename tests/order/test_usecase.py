"""What can be done with orders: by whom, and what a key answers for ever."""

from collections.abc import Mapping, Set

import pytest

from mercato.events import StockReserved
from mercato.kernel.errors import Forbidden, NotFound, Unavailable
from mercato.kernel.identity import Caller, new_id
from mercato.kernel.money import Money
from mercato.order.model import (
    IdempotencyKeyReused,
    OrderNotCancellable,
    Priced,
    Status,
    Stock,
    TotalMismatch,
    UnknownProduct,
)
from mercato.order.repository import MongoOrders
from mercato.order.usecase import Ordering
from tests.order.orders import LAMP, NOW, PRODUCTS, draft

ADMIN = Caller(new_id(), "admin")


class Shelf:
    """A catalogue that changes as a test says."""

    def __init__(self) -> None:
        self.products_now = dict(PRODUCTS)
        self.away = False

    async def products(self, ids: Set[str]) -> Mapping[str, Priced]:
        if self.away:
            raise Unavailable("the catalogue is away")
        return {each: self.products_now[each] for each in ids if each in self.products_now}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def ordering(orders: MongoOrders, shelf: Shelf) -> Ordering:
    return Ordering(orders, shelf, lambda: NOW)


async def test_a_key_gives_the_same_answer_for_ever(ordering: Ordering, shelf: Shelf) -> None:
    wish = draft(key="k", total=Money(3998, "EUR"))
    first, replayed = await ordering.place(wish)
    assert not replayed
    placed = first.as_placed()
    await ordering.heard(StockReserved(order_id=first.id))
    shelf.products_now[LAMP] = Priced("Lamp", Money(9999, "EUR"))
    assert await ordering.place(wish) == (placed, True), "the price is another one now"
    del shelf.products_now[LAMP]
    assert await ordering.place(wish) == (placed, True), "the product has gone"
    shelf.away = True
    assert await ordering.place(wish) == (placed, True), "the catalogue is away"


async def test_a_key_with_another_body_is_refused(ordering: Ordering, shelf: Shelf) -> None:
    first, _ = await ordering.place(draft(key="k"))
    other = draft(user_id=first.user_id, key="k", items=[(LAMP, 3)], fingerprint="g")
    with pytest.raises(IdempotencyKeyReused):
        await ordering.place(other)
    shelf.products_now.clear()
    with pytest.raises(IdempotencyKeyReused):
        await ordering.place(other)


async def test_what_was_refused_has_used_no_key(ordering: Ordering) -> None:
    user = new_id()
    with pytest.raises(UnknownProduct):
        await ordering.place(draft(user_id=user, key="k", items=[(new_id(), 1)]))
    with pytest.raises(TotalMismatch):
        await ordering.place(draft(user_id=user, key="k", total=Money(1, "EUR")))
    _, replayed = await ordering.place(draft(user_id=user, key="k"))
    assert not replayed


async def test_somebody_elses_order_is_not_found(ordering: Ordering) -> None:
    order, _ = await ordering.place(draft())
    stranger = Caller(new_id(), "customer")
    for status in Status:
        with pytest.raises(NotFound):
            await ordering.set_status(order.id, status, stranger)
    with pytest.raises(NotFound):
        await ordering.get(order.id, stranger)
    assert (await ordering.get(order.id, Caller(order.user_id, "customer"))).id == order.id
    assert (await ordering.get(order.id, ADMIN)).id == order.id
    with pytest.raises(Forbidden):
        await ordering.page(stranger, order.user_id, "", "", 10)


async def test_a_customer_may_cancel_and_nothing_else(ordering: Ordering) -> None:
    order, _ = await ordering.place(draft())
    owner = Caller(order.user_id, "customer")
    for status in (Status.COMPLETED, Status.PENDING):
        with pytest.raises(Forbidden):
            await ordering.set_status(order.id, status, owner)
    for _ in range(2):
        cancelled = await ordering.set_status(order.id, Status.CANCELLED, owner)
        assert (cancelled.status, cancelled.reason) == (Status.CANCELLED, "cancelled_by_customer")
        assert cancelled.version == 2
    with pytest.raises(OrderNotCancellable):
        await ordering.set_status(order.id, Status.PENDING, ADMIN)


async def test_an_answer_about_somebody_elses_order_is_no_fault(ordering: Ordering) -> None:
    await ordering.heard(StockReserved(order_id=new_id()))


async def test_pages_know_whether_there_are_more(ordering: Ordering) -> None:
    owner = Caller(new_id(), "customer")
    placed = [(await ordering.place(draft(user_id=owner.id)))[0].id for _ in range(5)]
    seen, cursor, pages = [], "", 0
    while cursor or not pages:
        page, cursor = await ordering.page(owner, "", "", cursor, 2)
        seen += [order.id for order in page]
        pages += 1
    assert (seen, pages) == (placed[::-1], 3)
    exact, cursor = await ordering.page(owner, owner.id, "", "", 5)
    assert (len(exact), cursor) == (5, "")


async def test_a_reserved_order_is_completed_by_the_shop(ordering: Ordering) -> None:
    order, _ = await ordering.place(draft())
    await ordering.heard(StockReserved(order_id=order.id))
    for _ in range(2):
        done = await ordering.set_status(order.id, Status.COMPLETED, ADMIN)
        assert (done.status, done.stock) == (Status.COMPLETED, Stock.RESERVED)
    with pytest.raises(OrderNotCancellable):
        await ordering.set_status(order.id, Status.CANCELLED, ADMIN)

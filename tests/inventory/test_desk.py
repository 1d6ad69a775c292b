"""The desk: all or nothing for an order, once, whatever comes twice or in another order."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.events import (
    OrderCancelled,
    OrderCompleted,
    OrderFact,
    StockRejected,
    StockReleased,
    StockReserved,
    StockSold,
)
from mercato.inventory.model import Desk, State, Unfit
from mercato.kernel.identity import new_id
from tests.inventory.goods import created

LAMP, CHAIR, GONE = new_id(), new_id(), new_id()
ORDER = new_id()


def cancelled(order_id: str = ORDER) -> OrderCancelled:
    return OrderCancelled(order_id=order_id, reason="r")


def completed(order_id: str = ORDER) -> OrderCompleted:
    return OrderCompleted(order_id=order_id)


def settled(*facts: OrderFact | Unfit, lamps: int = 10, chairs: int = 10) -> Desk:
    desk = Desk({}, {LAMP: lamps, CHAIR: chairs})
    for fact in facts:
        desk.settle(fact)
    return desk


def answers(desk: Desk) -> set[type[OrderFact]]:
    return {type(fact) for fact in desk.answers.values()}


def test_all_lines_of_an_order_are_held_or_none() -> None:
    whole = settled(created((LAMP, 3), (CHAIR, 10)))
    assert whole.stock == {LAMP: 7, CHAIR: 0}
    assert answers(whole) == {StockReserved}
    none = settled(created((LAMP, 3), (CHAIR, 11)))
    assert none.stock == {LAMP: 10, CHAIR: 10}
    assert [fact.reason for fact in none.answers.values() if isinstance(fact, StockRejected)] == [
        "out_of_stock"
    ]
    assert none.moves == []


def test_lines_of_one_product_count_together() -> None:
    assert answers(settled(created((LAMP, 6), (LAMP, 6)))) == {StockRejected}
    assert settled(created((LAMP, 6), (LAMP, 4))).stock[LAMP] == 0


def test_a_product_that_is_not_for_sale_rejects_the_order() -> None:
    desk = settled(created((LAMP, 1), (GONE, 1), order_id=ORDER))
    assert (desk.reservations[ORDER].state, desk.reservations[ORDER].reason) == (
        State.REJECTED, "unknown_product",
    )  # fmt: skip


def test_units_that_come_back_of_a_retired_product_are_not_sold_again() -> None:
    held = settled(created((LAMP, 3), order_id=ORDER))
    desk = Desk(held.reservations, {CHAIR: 1})  # the lamp has left the catalogue since
    desk.settle(cancelled())
    late = created((LAMP, 1))
    desk.settle(late)
    assert desk.reservations[late.order_id].state is State.REJECTED
    assert sum(move.delta for move in desk.moves) == 3, "they are counted all the same"


def test_the_first_in_the_stream_is_served_first() -> None:
    orders = [created((LAMP, 4)) for _ in range(4)]
    desk = settled(*orders)
    states = [desk.reservations[order.order_id].state for order in orders]
    assert states == [State.HELD, State.HELD, State.REJECTED, State.REJECTED]


def test_what_is_known_is_answered_again_and_never_applied_again() -> None:
    once = created((LAMP, 3), order_id=ORDER)
    desk = settled(once, once, created((LAMP, 5), order_id=ORDER))
    assert desk.stock[LAMP] == 7
    assert len(desk.moves) == 1
    desk = Desk(desk.reservations, {LAMP: 7})
    desk.settle(once)
    assert answers(desk) == {StockReserved}
    assert (desk.touched, desk.moves) == ({}, [])


def test_a_creation_that_comes_after_its_cancellation_finds_a_tombstone() -> None:
    desk = settled(cancelled(), created((LAMP, 3), order_id=ORDER))
    assert desk.stock[LAMP] == 10
    assert desk.reservations[ORDER].state is State.RELEASED
    assert answers(desk) == {StockReleased}


def test_a_completed_order_is_sold_once_and_never_released() -> None:
    desk = settled(created((LAMP, 3), order_id=ORDER), completed(), completed(), cancelled())
    assert desk.reservations[ORDER].state is State.SOLD
    assert desk.stock[LAMP] == 7
    assert answers(desk) == {StockReserved, StockSold}


@pytest.mark.parametrize("before", [(), (cancelled(),), (created((LAMP, 99), order_id=ORDER),)])
def test_what_is_not_held_cannot_be_sold(before: tuple[OrderFact, ...]) -> None:
    desk = settled(*before, completed())
    assert StockSold not in answers(desk)
    assert desk.stock[LAMP] == 10


def test_a_creation_that_cannot_be_meant_is_rejected_as_such() -> None:
    desk = settled(Unfit(ORDER))
    assert desk.answers[f"{ORDER}:stock.rejected"] == StockRejected(
        order_id=ORDER, reason="invalid_event"
    )
    assert answers(settled(created((LAMP, 1), order_id=ORDER), Unfit(ORDER))) == {StockReserved}


STORIES = [
    [created((LAMP, 3), order_id=ORDER)] * 2 + [cancelled()] * 2,
    [created((LAMP, 3), order_id=ORDER)] * 2 + [completed()] * 2,
    [created((LAMP, 3), (CHAIR, 11), order_id=ORDER)] * 2 + [cancelled()] * 2,
]


@pytest.mark.parametrize("story", STORIES, ids=["cancelled", "completed", "rejected"])
def test_every_order_of_arrival_ends_with_the_same_stock(story: list[OrderFact]) -> None:
    """What has not been answered is told again, so each permutation is heard twice (G12)."""
    ends = set()
    for order in permutations(story):
        desk = settled(*order, *order)
        ends.add((desk.stock[LAMP], desk.stock[CHAIR]))
        sums = {p: sum(m.delta for m in desk.moves if m.product_id == p) for p in (LAMP, CHAIR)}
        assert (10 + sums[LAMP], 10 + sums[CHAIR]) == (desk.stock[LAMP], desk.stock[CHAIR])
        assert len({move.id for move in desk.moves}) == len(desk.moves)
    assert len(ends) == 1


ids = st.sampled_from([new_id() for _ in range(4)])
lines = st.tuples(st.sampled_from([LAMP, CHAIR, GONE]), st.integers(1, 6))
facts = st.one_of(
    st.builds(
        lambda order_id, items: created(*items, order_id=order_id),
        ids,
        st.lists(lines, min_size=1, max_size=3),
    ),
    st.builds(cancelled, ids),
    st.builds(completed, ids),
    st.builds(Unfit, ids),
)


@given(st.lists(facts, max_size=30))
def test_the_ledger_always_adds_up_to_the_stock(storm: list[OrderFact | Unfit]) -> None:
    desk = settled(*storm)
    for product_id in (LAMP, CHAIR):
        moved = sum(move.delta for move in desk.moves if move.product_id == product_id)
        gone = sum(
            reservation.items.get(product_id, 0)
            for reservation in desk.reservations.values()
            if reservation.state in (State.HELD, State.SOLD)
        )
        assert desk.stock[product_id] == 10 + moved == 10 - gone >= 0
    assert len({move.id for move in desk.moves}) == len(desk.moves)

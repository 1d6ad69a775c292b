"""An order's states: what leads from one to another, what is refused, and what is told."""

from collections.abc import Callable
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel.errors import AppError, Invalid
from mercato.kernel.identity import new_id
from mercato.kernel.money import Money
from mercato.order.model import (
    Order,
    OrderNotCancellable,
    OrderNotCompletable,
    Priced,
    Status,
    Stock,
    Telling,
    TotalMismatch,
    UnknownProduct,
)
from tests.order.orders import CHAIR, LAMP, NOW, PRODUCTS, draft, placed

CHANGES: dict[str, Callable[[Order], None]] = {
    "reserved": lambda order: order.stock_reserved(NOW),
    "rejected": lambda order: order.stock_rejected(NOW, "out_of_stock"),
    "released": lambda order: order.stock_released(NOW),
    "sold": lambda order: order.stock_sold(),
    "cancel": lambda order: order.cancel(NOW, "customer:a", "cancelled_by_customer"),
    "complete": lambda order: order.complete(NOW, "admin:b"),
}
# (status, stock) -> what each change makes of it; what is not named leaves it as it is.
NEXT = {
    "PENDING AWAITING": {
        "reserved": "PENDING RESERVED", "rejected": "CANCELLED REJECTED",
        "cancel": "CANCELLED AWAITING", "complete": OrderNotCompletable,
    },
    "PENDING RESERVED": {"cancel": "CANCELLED RESERVED", "complete": "COMPLETED RESERVED"},
    "CANCELLED AWAITING": {
        "rejected": "CANCELLED REJECTED", "released": "CANCELLED RELEASED",
        "complete": OrderNotCompletable,
    },
    "CANCELLED RESERVED": {"released": "CANCELLED RELEASED", "complete": OrderNotCompletable},
    "CANCELLED REJECTED": {"complete": OrderNotCompletable},
    "CANCELLED RELEASED": {"complete": OrderNotCompletable},
    "COMPLETED RESERVED": {"cancel": OrderNotCancellable},
}  # fmt: skip
WAYS = {
    "PENDING AWAITING": (),
    "PENDING RESERVED": ("reserved",),
    "CANCELLED AWAITING": ("cancel",),
    "CANCELLED RESERVED": ("reserved", "cancel"),
    "CANCELLED REJECTED": ("rejected",),
    "CANCELLED RELEASED": ("cancel", "released"),
    "COMPLETED RESERVED": ("reserved", "complete"),
}


def in_state(state: str) -> Order:
    order = placed()
    for name in WAYS[state]:
        CHANGES[name](order)
    order.telling = Telling()
    assert state_of(order) == state
    return order


def state_of(order: Order) -> str:
    return f"{order.status} {order.stock}"


@pytest.mark.parametrize("state", NEXT)
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_leads_where_the_table_says_or_is_refused(state: str, change: str) -> None:
    order = in_state(state)
    before = deepcopy(order)
    then = NEXT[state].get(change, state)  # type: ignore[attr-defined]
    if isinstance(then, str):
        CHANGES[change](order)
        assert state_of(order) == then
    else:
        with pytest.raises(then):
            CHANGES[change](order)
    if then != state and isinstance(then, str):
        assert order.version == before.version + 1
        assert len(order.history) == len(before.history) + 1
    else:
        assert (order.version, order.history) == (before.version, before.history)
        assert (order.telling.facts, order.telling.mails) == ([], [])


@given(st.lists(st.sampled_from(sorted(CHANGES)), max_size=12))
def test_no_row_of_changes_leads_out_of_the_table(names: list[str]) -> None:
    order = placed()
    for name in names:
        try:
            CHANGES[name](order)
        except AppError:
            continue
        assert state_of(order) in NEXT
    assert len(order.history) == order.version
    mails = order.telling.mails
    assert len(mails) == len(set(mails)), "a mail is told twice"
    facts = [fact.id for fact in order.telling.facts]
    assert len(facts) == len(set(facts)), "a fact is told twice"


def test_whatever_is_heard_answers_what_was_told() -> None:
    answers = {
        "reserved": {"created"}, "rejected": {"created"},
        "released": {"created", "cancelled"}, "sold": {"created", "completed"},
    }  # fmt: skip
    for state in NEXT:
        for change, subjects in answers.items():
            order = in_state(state)
            CHANGES[change](order)
            assert set(order.telling.answered) == {f"{order.id}:order.{each}" for each in subjects}


def test_a_rejected_order_says_why_and_the_customer_is_told() -> None:
    order = placed()
    order.stock_rejected(NOW, "out_of_stock")
    assert (order.status, order.reason) == (Status.CANCELLED, "out_of_stock")
    assert order.telling.mails == ["order-cancelled"]


def test_an_order_is_priced_by_the_catalogue_and_its_duplicates_are_summed() -> None:
    order = Order.place(draft(items=[(LAMP, 1), (CHAIR, 2), (LAMP, 3)]), PRODUCTS, NOW)
    assert [(line.product_id, line.quantity) for line in order.lines] == [(LAMP, 4), (CHAIR, 2)]
    assert order.total == Money(4 * 1999 + 2 * 4500, "EUR")
    assert (order.status, order.stock, order.version) == (Status.PENDING, Stock.AWAITING, 1)


def test_every_unknown_product_of_an_order_is_named() -> None:
    with pytest.raises(UnknownProduct) as refused:
        Order.place(draft(items=[(new_id(), 1), (LAMP, 1), (new_id(), 1)]), PRODUCTS, NOW)
    assert [v.field for v in refused.value.violations] == [
        "items[0].product_id",
        "items[2].product_id",
    ]


def test_duplicates_cannot_get_round_the_greatest_quantity() -> None:
    with pytest.raises(Invalid) as refused:
        Order.place(draft(items=[(LAMP, 6000), (CHAIR, 1), (LAMP, 6000)]), PRODUCTS, NOW)
    assert [v.field for v in refused.value.violations] == ["items[0].quantity", "items[2].quantity"]


def test_a_total_that_the_customer_did_not_see_is_refused_with_both_figures() -> None:
    with pytest.raises(TotalMismatch, match=r"39\.98 EUR, not 39\.97 EUR"):
        Order.place(draft(total=Money(3997, "EUR")), PRODUCTS, NOW)
    assert Order.place(draft(total=Money(3998, "EUR")), PRODUCTS, NOW).total.minor == 3998


def test_a_total_beyond_what_json_readers_can_tell_is_refused() -> None:
    dear = {new_id(): Priced("Moon", Money(10**10, "EUR")) for _ in range(100)}
    with pytest.raises(Invalid):
        Order.place(draft(items=[(each, 10_000) for each in dear]), dear, NOW)


def test_the_answer_to_a_known_key_is_the_order_as_it_was_placed() -> None:
    order = placed()
    first = deepcopy(order)
    order.stock_reserved(NOW)
    order.complete(NOW, "admin:b")
    again = order.as_placed()
    assert again == first
    assert order.status is Status.COMPLETED, "the order itself is left alone"

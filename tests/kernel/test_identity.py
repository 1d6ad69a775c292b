"""Ids are unique, in time order and of one form; refusals have slugs; facts have ids."""

import re
from datetime import UTC, datetime

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from mercato import events
from mercato.kernel import errors
from mercato.kernel.clock import now, rfc3339
from mercato.kernel.facts import Fact
from mercato.kernel.identity import Caller, is_id, new_id


def test_ids_are_unique_object_ids_in_the_order_of_their_making() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(is_id(each) for each in ids)
    born = [ObjectId(each).generation_time for each in ids]
    assert born == sorted(born)
    assert abs((born[0] - datetime.now(UTC)).total_seconds()) < 5


@given(st.text(max_size=30) | st.none() | st.integers() | st.binary())
def test_whatever_is_no_id_is_seen_as_none(text: object) -> None:
    assert is_id(text) == (isinstance(text, str) and bool(re.fullmatch(r"[0-9a-f]{24}", text)))


@pytest.mark.parametrize("text", ["A" * 24, "a" * 23, "a" * 25, "a" * 24 + "\n", "g" * 24, ""])
def test_an_id_is_24_lower_case_hex_digits_and_nothing_more(text: str) -> None:
    assert not is_id(text)


def test_a_customer_owns_their_things_and_the_house_owns_all() -> None:
    assert Caller("a", "customer").owns("a")
    assert not Caller("a", "customer").owns("b")
    assert Caller("a", "admin").owns("b")
    assert Caller("order", "service").owns("b")


def test_a_slug_is_the_name_of_its_refusal() -> None:
    class OutOfStock(errors.Conflict):
        """For this test."""

    assert OutOfStock("none left").slug == "out-of-stock"
    assert [kind("").slug for kind in errors.KINDS] == [
        "invalid", "unauthenticated", "forbidden", "not-found", "conflict", "stale", "exhausted",
        "unavailable",
    ]  # fmt: skip


def test_every_fact_has_a_subject_of_the_stream_and_an_id_of_its_own() -> None:
    facts: list[Fact] = [
        events.UserRegistered(user_id="u", username="n"),
        events.UserChanged(user_id="u", version=2),
        events.ProductChanged(product_id="p", version=3),
        events.OrderCreated(order_id="o", items=()),
        events.StockReserved(order_id="o"), events.StockRejected(order_id="o", reason="r"),
        events.OrderCancelled(order_id="o", reason="r"), events.StockReleased(order_id="o"),
        events.OrderCompleted(order_id="o"), events.StockSold(order_id="o"),
    ]  # fmt: skip
    assert len({fact.id for fact in facts}) == len(facts)
    roots = {subject.removesuffix(">") for subject in events.SUBJECTS}
    assert all(any(fact.subject.startswith(root) for root in roots) for fact in facts)


def test_times_are_utc_to_the_millisecond() -> None:
    at = now()
    assert at.tzinfo is UTC
    assert at.microsecond % 1000 == 0
    assert rfc3339(at).endswith("Z")
    assert datetime.fromisoformat(rfc3339(at)) == at

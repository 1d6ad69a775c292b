"""The outbox and its relay: told until answered, each time as the next emission."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from bson import decode

from mercato.events import Item, OrderCreated, StockReserved
from mercato.kernel import clock
from mercato.kernel.clock import now
from mercato.kernel.facts import Fact
from mercato.kernel.identity import new_id
from mercato.platform import outbox as module
from mercato.platform.bus import Letter
from mercato.platform.cache import Cache
from mercato.platform.mongo import Session, Store
from mercato.platform.outbox import Outbox, Row, mail, tell
from mercato.platform.relay import Relay, _letter, again_after_s
from mercato.platform.tasks import end


@pytest.fixture
async def outbox(store: Store) -> Outbox:
    name = f"outbox_{new_id()}"
    await store.ensure({name: module.SHAPE})
    return Outbox(store[name])


class Ear:
    """Hears what a relay tells; takes it, or not; may do something in between."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.takes = True
        self.meanwhile: Any = None

    async def __call__(self, rows: Sequence[Row]) -> set[str]:
        self.heard += [(row.id, row.emission) for row in rows]
        if self.meanwhile:
            await self.meanwhile()
        return {row.id for row in rows} if self.takes else set()


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def relay(outbox: Outbox, cache: Cache, ear: Ear) -> Relay:
    return Relay(outbox, cache, name="test", kind="nats", dispatch=ear)


def order_created() -> OrderCreated:
    return OrderCreated(order_id=new_id(), items=(Item(product_id=new_id(), quantity=2),))


async def add(store: Store, outbox: Outbox, *facts: Fact, again: bool = False) -> None:
    async def body(session: Session) -> None:
        rows = [tell(fact) for fact in facts]
        await (outbox.add_again(rows, session) if again else outbox.add(rows, session))

    await store.transaction(body)


async def row_of(outbox: Outbox, fact: Fact) -> dict[str, Any]:
    row = await outbox.rows.find_one({"_id": fact.id})
    assert row is not None
    return row


async def make_due(outbox: Outbox) -> None:
    """Lets the time pass until every open row is due."""
    change = {"$set": {"not_before": now() - timedelta(seconds=1)}}
    await outbox.rows.update_many({"not_before": {"$exists": True}}, change)


async def test_a_fact_that_is_answered_is_told_until_then_and_no_longer(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    fact = order_created()
    await add(store, outbox, fact)
    for emission in (1, 2, 3):
        await relay.tell_due()
        await relay.tell_due()  # it is not due yet
        assert ear.heard == [(fact.id, n) for n in range(1, emission + 1)]
        assert (await row_of(outbox, fact))["state"] == "sent"
        await make_due(outbox)
    await outbox.close([fact.id])
    await make_due(outbox)
    await relay.tell_due()
    assert len(ear.heard) == 3
    closed = await row_of(outbox, fact)
    shown = (closed["state"], "not_before" in closed, "closed_at" in closed)
    assert shown == ("closed", False, True)


async def test_the_next_emission_follows_later_each_time() -> None:
    assert [again_after_s(n) for n in (1, 2, 3, 4, 5, 6, 10_000)] == [5, 10, 20, 40, 60, 60, 60]


async def test_a_fact_that_nobody_answers_is_told_once(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    fact = StockReserved(order_id=new_id())
    await add(store, outbox, fact)
    await relay.tell_due()
    await make_due(outbox)
    await relay.tell_due()
    assert ear.heard == [(fact.id, 1)]
    assert (await row_of(outbox, fact))["state"] == "closed"


async def test_what_nobody_takes_is_told_again_as_the_same_emission(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    fact = order_created()
    await add(store, outbox, fact)
    ear.takes = False
    for _ in range(3):
        assert not await relay.tell_due(), "there is no use in going on at once"
        await make_due(outbox)
    assert ear.heard == [(fact.id, 1)] * 3


async def test_a_row_that_was_opened_again_meanwhile_is_left_alone(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    fact = StockReserved(order_id=new_id())
    await add(store, outbox, fact)
    ear.meanwhile = lambda: add(store, outbox, fact, again=True)
    await relay.tell_due()
    row = await row_of(outbox, fact)
    assert (row["state"], row["emission"]) == ("open", 1)
    ear.meanwhile = None
    await relay.tell_due()
    assert ear.heard == [(fact.id, 1), (fact.id, 2)]
    assert (await row_of(outbox, fact))["state"] == "closed"


async def test_a_closed_row_can_be_opened_again(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    fact = StockReserved(order_id=new_id())
    for times in (1, 2, 3):
        await add(store, outbox, fact, again=True)
        row = await row_of(outbox, fact)
        assert (row["state"], row["emission"], "closed_at" in row) == ("open", times, False)
        await relay.tell_due()
    assert [emission for _, emission in ear.heard] == [2, 3, 4], "each is another one"


async def test_a_row_that_was_closed_meanwhile_stays_closed(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    fact = order_created()
    await add(store, outbox, fact)
    ear.meanwhile = lambda: outbox.close([fact.id])
    await relay.tell_due()
    row = await row_of(outbox, fact)
    assert (row["state"], "not_before" in row) == ("closed", False)


async def test_relays_beside_one_another_never_lose_a_row(
    store: Store, outbox: Outbox, cache: Cache
) -> None:
    ears = [Ear() for _ in range(3)]
    relays = [Relay(outbox, cache, name="t", kind="nats", dispatch=ear) for ear in ears]
    facts = [StockReserved(order_id=new_id()) for _ in range(600)]
    await add(store, outbox, *facts)
    for _ in range(3):
        await asyncio.gather(*(relay.tell_due() for relay in relays))
    heard = {each for ear in ears for each in ear.heard}
    assert heard == {(fact.id, 1) for fact in facts}
    assert await outbox.rows.count_documents({"state": "closed"}) == 600


async def test_facts_and_mails_do_not_wait_for_one_another(
    store: Store, outbox: Outbox, cache: Cache, relay: Relay, ear: Ear
) -> None:
    fact, letters = order_created(), Ear()
    await add(store, outbox, fact)
    row = mail(fact.order_id, "order-confirmed", {}, stale={})
    await store.transaction(lambda session: outbox.add([row], session))
    await Relay(outbox, cache, name="t", kind="mail", dispatch=letters).tell_due()
    assert letters.heard == [(row.id, 1)]
    await relay.tell_due()
    assert ear.heard == [(fact.id, 1)]


async def add_in_hand(store: Store, outbox: Outbox, *facts: Fact) -> None:
    rows = [tell(fact) for fact in facts]
    await store.transaction(lambda session: outbox.add(rows, session, in_hand=True))
    outbox.told_soon(rows)


async def test_what_is_in_hand_is_told_without_being_looked_for_or_marked(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    fact = order_created()
    await add_in_hand(store, outbox, fact)
    before = await row_of(outbox, fact)
    assert not await relay.tell_due(), "it is not due"
    assert not await relay.tell_fresh(), "there is no more"
    assert ear.heard == [(fact.id, 1)]
    assert await row_of(outbox, fact) == before
    await make_due(outbox)
    await relay.tell_due()
    assert ear.heard == [(fact.id, 1), (fact.id, 2)]


async def test_what_is_in_hand_and_needs_no_answer_is_closed_once_it_is_taken(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    taken, lost = StockReserved(order_id=new_id()), StockReserved(order_id=new_id())
    await add_in_hand(store, outbox, taken)
    await relay.tell_fresh()
    ear.takes = False
    await add_in_hand(store, outbox, lost)
    await relay.tell_fresh()
    assert (await row_of(outbox, taken))["state"] == "open", "they are closed together"
    await relay.close_taken()
    assert [(await row_of(outbox, fact))["state"] for fact in (taken, lost)] == ["closed", "open"]


async def test_what_a_process_took_with_it_is_told_by_another_when_it_falls_due(
    store: Store, outbox: Outbox, cache: Cache, ear: Ear
) -> None:
    fact = order_created()
    await add_in_hand(store, outbox, fact)
    other = Relay(Outbox(outbox.rows), cache, name="test", kind="nats", dispatch=ear)
    assert not await other.tell_fresh()
    await other.tell_due()
    assert ear.heard == []
    await make_due(outbox)
    await other.tell_due()
    assert ear.heard == [(fact.id, 2)]


async def test_more_than_memory_holds_waits_until_it_is_due(outbox: Outbox) -> None:
    rows = [tell(order_created()) for _ in range(module.FRESH_MAX + 1)]
    outbox.told_soon(rows)
    assert list(outbox.fresh["nats"]) == rows[1:]


async def test_the_first_telling_is_repeated_later_when_answers_take_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, seconds = module._Answers(), [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: seconds[0])
    waits = []
    for answer_s in (0.1, 3.0, 60.0):
        for number in range(100):
            answers.asked(f"{number}")
            seconds[0] += answer_s
            answers.came([f"{number}", "somebody else's"])
        waits.append(answers.patience_s)
    assert waits == [5.0, pytest.approx(9.0, abs=0.1), 15.0]


async def test_due_rows_are_found_by_their_index(outbox: Outbox) -> None:
    query = {"kind": "nats", "not_before": {"$lte": now()}}
    explained = await outbox.rows.find(query).sort("not_before", 1).explain()
    plan = decode(explained["queryPlanner"].raw)
    assert "'indexName': 'due'" in str(plan["winningPlan"])
    assert "SORT" not in str(plan["winningPlan"]).replace("'sort", "")


async def test_a_relay_is_woken_by_a_commit_and_stops_when_told(
    store: Store, outbox: Outbox, relay: Relay, ear: Ear
) -> None:
    running = asyncio.ensure_future(relay.run())
    await asyncio.sleep(0.05)
    await add(store, outbox, order_created())
    outbox.told_soon()
    async with asyncio.timeout(5):
        while not ear.heard:  # noqa: ASYNC110 - the relay has no event for a test
            await asyncio.sleep(0.01)
    outbox.told_soon()
    async with asyncio.timeout(2):
        await end([running])
    assert running.cancelled()


def test_a_letter_is_a_cloud_event_with_the_documented_payload() -> None:
    fact = order_created()
    row = tell(fact, trace={"traceparent": "t"})
    letter = _letter(row)
    item = fact.items[0]
    text = f'{{"product_id":"{item.product_id}","quantity":2}}'
    assert letter.payload.decode() == f'{{"order_id":"{fact.order_id}","items":[{text}]}}'
    assert letter.headers["Nats-Msg-Id"] == f"{fact.order_id}:order.created:1"
    assert letter.headers["ce-id"] == fact.id
    assert letter.headers["ce-type"] == letter.subject == "order.created"
    assert {"ce-source", "ce-time", "ce-specversion", "traceparent"} <= set(letter.headers)
    assert isinstance(letter, Letter)

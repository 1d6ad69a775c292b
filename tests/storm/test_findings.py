"""The verdict can see: each thing that may go wrong turns the claim that is about it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mercato.storm.book import Book
from mercato.storm.observer import Seen
from mercato.storm.records import Move, Records, Reservation
from mercato.storm.verdict import Claim, Looks, Times, judge
from tests.storm.books import DOMAIN, book, records

Change = Callable[[Book, Records, Seen], Any]
TIMES = Times(20.0, 21.0, 22.0, 23.0, 0)


def claims(change: Change | None = None) -> list[Claim]:
    found, kept, seen = book(), records(), Seen(snapshots=5)
    changed = change(found, kept, seen) if change else None
    kept = changed if isinstance(changed, Records) else kept
    return judge(found, kept, seen, TIMES, Looks([], []), 30.0)


def test_a_book_and_records_that_agree_keep_every_promise() -> None:
    assert [claim.says for claim in claims() if not claim.kept] == []


def order(kept: Records, name: str, **changes: Any) -> Records:
    changed = replace(kept.orders[name], **changes)
    return replace(kept, orders={**kept.orders, changed.id: changed})


def without(kept: Records, name: str) -> Records:
    return replace(kept, orders={k: v for k, v in kept.orders.items() if k != name})


def held(kept: Records, name: str, state: str) -> Records:
    changed = Reservation(state, kept.reservations[name].lines)
    return replace(kept, reservations={**kept.reservations, name: changed})


def moved(kept: Records, *moves: Move) -> Records:
    return replace(kept, moves=[*kept.moves, *moves])


def mailed(kept: Records, name: str, times: int) -> Records:
    delivered = Counter({**kept.delivered, name + DOMAIN: times})
    recipients = {k: v for k, v in kept.recipients.items() if delivered[k]}
    return replace(kept, delivered=+delivered, recipients=recipients)


TWICE = Move("p1", -1, "held", "order:order1")
WRONG: dict[str, tuple[str, Change]] = {
    "a lost order": ("orders that are missing", lambda b, r, s: without(r, "order1")),
    "another line": ("other than ack", lambda b, r, s: order(r, "order1", lines={"p1": 2})),
    "another owner": ("other than ack", lambda b, r, s: order(r, "order1", user_id="user2")),
    "a second order": (
        "beyond one for each key",
        lambda b, r, s: order(order(r, "order1"), "order1", id="order4"),
    ),
    "an undecided order": ("undecided in the end", lambda b, r, s: order(r, "order1",
                                                                         stock="AWAITING")),
    "no answer": ("never answered", lambda b, r, s: setattr(b.orders["key1"], "order_id", "")),
    "a lost restock": ("clients' book", lambda b, r, s: b.restocks.clear()),
    "an oversold product": ("of the ledger", lambda b, r, s: replace(r, stock={"p1": -1, "p2": 8})),
    "a unit too many": (
        "clients' book",
        lambda b, r, s: replace(moved(r, Move("p1", 1, "restocked", "")), stock={"p1": 8, "p2": 8}),
    ),
    "units taken twice": (
        "taken twice",
        lambda b, r, s: replace(moved(r, TWICE), stock={"p1": 6, "p2": 8}),
    ),
    "half an order": (
        "only some lines",
        lambda b, r, s: replace(r, moves=[m for m in r.moves if (m.product_id, m.by) !=
                                          ("p2", "order:order2")]),
    ),
    "a cancelled order that was sold": ("do not fit", lambda b, r, s: held(r, "order3", "SOLD")),
    "a completion forgotten": ("not kept", lambda b, r, s: order(r, "order2", status="PENDING")),
    "a mail twice": ("came twice", lambda b, r, s: mailed(r, "order1.order-confirmed", 2)),
    "a mail to nobody": ("nobody is owed", lambda b, r, s: mailed(r, "order9.order-confirmed", 1)),
    "a lost mail": ("mails that are lost", lambda b, r, s: mailed(r, "user1.welcome", 0)),
    "a parked mail": ("unresolved", lambda b, r, s: replace(r, mails={"x": "PARKED"})),
    "a 500": ("5xx other", lambda b, r, s: b.statuses.update({500: 1})),
    "an unbalanced moment": ("snapshots", lambda b, r, s: s.unbalanced.append("1 + 1 != 3")),
    "a long lock": ("held a document", lambda b, r, s: setattr(s, "transaction_s_max", 5.1)),
    "another answer": ("no client should get", lambda b, r, s: b.contradict("409")),
    "a dead letter": ("dead letters", lambda b, r, s: replace(r, dead_letters=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_seen(name: str) -> None:
    says, change = WRONG[name]
    broken = [claim.says for claim in claims(change) if not claim.kept]
    assert any(says in each for each in broken), broken


def test_a_503_is_no_broken_promise() -> None:
    assert all(claim.kept for claim in claims(lambda b, r, s: b.statuses.update({503: 9})))

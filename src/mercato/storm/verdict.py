"""The verdict: each promise with the figure that the storm has found, and whether it is kept."""

from collections.abc import Iterable
from typing import Final

import msgspec

from mercato.storm import findings
from mercato.storm.book import Book
from mercato.storm.observer import Seen
from mercato.storm.records import Records

EXAMPLES_MAX: Final = 5
TRANSACTION_S_MAX: Final = 5.0


class Claim(msgspec.Struct, frozen=True):
    """A promise (its numbers as in the guarantees), what was found, and what may be found."""

    promise: str
    says: str
    found: float
    limit: float
    kept: bool
    examples: list[str]


class Times(msgspec.Struct, frozen=True):
    """When it was over, in seconds since the storm began; None: not within the time allowed."""

    faults_s: float  # the last fault
    driven_s: float  # the last answer to a client
    settled_s: float | None  # every order decided
    quiet_s: float | None  # nothing waits any more, nor any mail
    late_orders: int  # of those acknowledged during the faults: undecided at the limit after them


class Looks(msgspec.Struct, frozen=True):
    """What others say of the quiet platform: products that REST shows with another stock than the
    database's, and the findings of the audit.
    """

    stale: list[str]
    audit: list[str]


def judge(
    book: Book, records: Records, seen: Seen, times: Times, looks: Looks, settle_s: float
) -> list[Claim]:
    """Returns every claim with what was found."""
    errors = [f"{n} x {s}" for s, n in book.statuses.items() if s >= 500 and s != 503]
    r = records
    return [
        _none("G1", "acknowledged orders that are missing", findings.missing_orders(book, r)),
        _none("G1", "orders other than acknowledged", findings.altered_orders(book, r)),
        _none("G1", "requests never answered", findings.unanswered(book)),
        _at_most("G1", f"orders undecided {settle_s:g} s after the last fault",
                 times.late_orders, 0),
        _none("G1", "orders undecided in the end", findings.unsettled_orders(r)),
        _none("G2", "products whose stock is not that of the ledger", findings.wrong_by_ledger(r)),
        _none("G2", "products whose stock is not that of the clients' book",
              findings.wrong_by_book(book, r)),
        _none("G2", f"of {seen.snapshots} snapshots of the hot product out of balance",
              seen.unbalanced),
        _none("G2", "orders of which only some lines were taken", findings.partial_orders(r)),
        _none("G3", "orders whose units were taken twice", findings.double_decrements(r)),
        _none("G6", "5xx other than 503", errors),
        _at_most("G7", "seconds, the longest that a transaction held a document",
                 round(seen.transaction_s_max, 2), TRANSACTION_S_MAX),
        _none("G8", "orders beyond one for each key", findings.surplus_orders(book, r)),
        _none("G8", f"answers that no client should get ({book.repeats} keys repeated)",
              book.contradictions),
        _none("G10", "mails that came twice, or that nobody is owed",
              findings.surplus_mails(book, r)),
        _none("G10", "mails that are lost", findings.lost_mails(book, r)),
        _none("G10", f"mails unresolved ({len(seen.parked)} were parked)",
              findings.unresolved_mails(r)),
        _none("G12", "acknowledged cancellations and completions not kept",
              findings.broken_words(book, r)),
        _none("G12", "reservations that do not fit their order", findings.misfits(r)),
        _at_most("G14", "dead letters", r.dead_letters, 0),
        _none("G17", "products that are shown with another stock", looks.stale),
        _none("G30", "findings of the audit, to which nothing is under way", looks.audit),
    ]  # fmt: skip


def _none(promise: str, says: str, found: Iterable[str]) -> Claim:
    names = list(found)
    return Claim(promise, says, len(names), 0, not names, names[:EXAMPLES_MAX])


def _at_most(promise: str, says: str, found: float, limit: float) -> Claim:
    return Claim(promise, says, found, limit, found <= limit, [])

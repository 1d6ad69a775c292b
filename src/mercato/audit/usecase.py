"""The rules: what has to be true of an order, its reservation, its ledger rows and its mails."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from mercato.audit.model import (
    LEDGER,
    MAILS,
    ORDERS,
    OUTBOX,
    RESERVATIONS,
    STOCK,
    STUCK_MAILS,
    UNSENT_MAX,
    Case,
    Document,
    Finding,
    Grace,
    Mend,
    Severity,
    Sums,
    Verb,
)
from mercato.events import OrderCancelled, OrderCompleted, OrderCreated

CONFIRMED, CANCELLED, COMPLETED = "order-confirmed", "order-cancelled", "order-completed"
OF_ORDERS: Final = {CONFIRMED, CANCELLED, COMPLETED}
WELCOME: Final = "welcome"

# (order's status, its stock) -> the reservation's states that fit once nothing is under way
FITTING: Final = {
    ("PENDING", "RESERVED"): {"HELD"},
    ("COMPLETED", "RESERVED"): {"SOLD"},
    ("CANCELLED", "RELEASED"): {"RELEASED", "REJECTED"},
    ("CANCELLED", "REJECTED"): {"RELEASED", "REJECTED"},
}
# a fact that inventory has not answered yet -> the states in between
UNDER_WAY: Final[dict[str, set[str | None]]] = {
    OrderCreated.subject: {None, "HELD", "REJECTED", "RELEASED"},
    OrderCancelled.subject: {None, "HELD", "REJECTED", "RELEASED"},
    OrderCompleted.subject: {"HELD", "SOLD"},
}
_TAKING: Final = {"HELD", "SOLD"}
_STUCK: Final = {"PARKED", "FAILED"}
_OF_ORDER: Final = re.compile("[0-9a-f]{24}:[0-9a-f]{24}:")


def of_order(case: Case) -> Iterator[Finding]:
    """Yields what is wrong between an order and its reservation."""
    order = case.order
    if order is None:
        return
    status, stock = order["status"], order["stock"]
    state = case.reservation["state"] if case.reservation else None
    told = {row["subject"] for row in case.rows} & UNDER_WAY.keys()
    for subject in told:
        if state in UNDER_WAY[subject]:
            yield from _same_items(case)
            return
    if state in FITTING.get((status, stock), ()):
        yield from _same_items(case)
        return
    said = f"the order is {status}, its stock {stock}"
    if state is None:
        detail = f"{said}, and there is no reservation"
        yield Finding(RESERVATIONS, case.id, detail, mends=_booking(case, status))
        return
    next_fact = _next_fact(status, stock, state)
    untold = "" if next_fact is None else f", and nobody is being told {next_fact}"
    mends = () if next_fact is None else (Mend(Verb.TELL, case.id, next_fact),)
    detail = f"{said}, its reservation {state}{untold}"
    yield Finding(RESERVATIONS, case.id, detail, mends=mends)


def of_trace(case: Case, recently: bool = False) -> Iterator[Finding]:
    """Yields that an order is gone: `recently` says that its own outbox has a row about it.

    Mails and outbox rows are written for orders of ours only, so a reservation without any was
    made for another program.
    """
    if case.order is None and (recently or is_ours(case)):
        state = case.reservation["state"] if case.reservation else "missing"
        detail = f"there is no such order, but it was ours: its reservation is {state}"
        yield Finding(ORDERS, case.id, detail)


def is_ours(case: Case) -> bool:
    """Whether something that only an order of ours leaves behind is there under its id."""
    mailed = any(_template(mail).startswith("order-") for mail in case.mails)
    return mailed or any(row["ours"] for row in case.rows)


def of_ledger(case: Case) -> Iterator[Finding]:
    """Yields what is wrong between a reservation and the ledger rows of its order."""
    if case.reservation is None:
        if case.order is None and case.moves:
            detail = f"{len(case.moves)} ledger rows tell of a reservation that is not there"
            told = all(_OF_ORDER.match(str(move["_id"])) for move in case.moves)
            mends = (Mend(Verb.BOOK, case.id),) if told else ()  # else a stranger's rows
            yield Finding(LEDGER, case.id, detail, mends=mends)
        return
    due, there = entries_due(case.reservation), moved(case.moves)
    if due == there:
        return
    agreed = not any(of_order(case))  # else a person has to say which of the two is right
    missing = sorted(f"{cause} {p}" for p, cause in due.keys() - there.keys())
    if missing:
        detail = f"{case.reservation['state']}, and these ledger rows are missing: "
        mends = (Mend(Verb.ENTER, case.id),) if agreed else ()
        yield Finding(LEDGER, case.id, detail + ", ".join(missing), mends=mends)
    for product_id, (wanted, units) in surplus(due, there).items():
        detail = (
            f"{case.reservation['state']}: its ledger rows move {units:+} units of {product_id} "
            f"where {wanted:+} would be right"
        )
        mends = (Mend(Verb.LEVEL, case.id),) if agreed else ()
        yield Finding(LEDGER, case.id, detail, mends=mends)


def entries_due(reservation: Document) -> dict[tuple[Any, str], int]:
    """Returns the units that each ledger row of a reservation must move, by (product, cause)."""
    state = reservation["state"]
    if state == "REJECTED":
        return {}
    items = list(zip(reservation["products"], reservation["quantities"], strict=True))
    due: dict[tuple[Any, str], int] = {(product, "held"): -units for product, units in items}
    if state == "RELEASED":
        due |= {(product, "released"): units for product, units in items}
    return due


def moved(moves: Sequence[Document]) -> dict[tuple[Any, str], int]:
    """Returns the units that ledger rows have moved, by (product, cause)."""
    units: dict[tuple[Any, str], int] = {}
    for move in moves:
        key = (move["product_id"], move["cause"])
        units[key] = units.get(key, 0) + move["delta"]
    return units


def surplus(
    due: dict[tuple[Any, str], int], there: dict[tuple[Any, str], int]
) -> dict[Any, tuple[int, int]]:
    """Returns, by product, (units due, units moved) where these differ once no row is missing."""
    sums: dict[Any, tuple[int, int]] = {}
    for (product_id, cause), units in due.items():
        wanted, found = sums.get(product_id, (0, 0))
        missing = (product_id, cause) not in there
        sums[product_id] = (wanted + units, found + (units if missing else 0))
    for (product_id, _), units in there.items():
        wanted, found = sums.get(product_id, (0, 0))
        sums[product_id] = (wanted, found + units)
    return {product_id: pair for product_id, pair in sums.items() if pair[0] != pair[1]}


def of_mails(case: Case) -> Iterator[Finding]:
    """Yields mails that are owed and not there, and those that nobody owed."""
    due = owed(case)
    there = {_template(mail) for mail in case.mails}
    for template in sorted(due - there - {row["subject"] for row in case.rows}):
        detail = f"the mail {template} is neither in the queue nor on its way there"
        mends = (Mend(Verb.MAIL, case.id, template),)
        yield Finding(MAILS, f"{case.id}:{template}", detail, mends=mends)
    if case.order is not None:
        for template in sorted((there & OF_ORDERS) - due):
            detail = f"nobody owed the mail {template}: the order is {case.order['status']}"
            yield Finding(MAILS, f"{case.id}:{template}", detail)


def owed(case: Case) -> set[str]:
    """Returns the templates of the mails that an order or a user is owed by now."""
    if case.order is None:
        return set() if case.user is None else {WELCOME}
    due = {CONFIRMED} if case.order["reserved"] else set()
    due |= {CANCELLED} if case.order["status"] == "CANCELLED" else set()
    return due | ({COMPLETED} if case.order["status"] == "COMPLETED" else set())


def of_mail(mail: Document, at: datetime, grace: Grace) -> Iterator[Finding]:
    """Yields what is wrong with one mail of the queue.

    Its Message-ID is made of its id alone, so no two mails can have the same one while each has
    its own.
    """
    if not mail["message_id"].startswith(f"{message_local_part(mail['_id'])}@"):
        detail = f"it goes out under the Message-ID of another mail: {mail['message_id']}"
        yield Finding(MAILS, mail["_id"], detail)
    waits = grace.late if mail["state"] in _STUCK else UNSENT_MAX
    if "since" in mail and mail["since"] <= at - waits:
        detail = f"{mail['state']}: {mail.get('reason', 'no reason is known')}"
        yield Finding(STUCK_MAILS, mail["_id"], detail, Severity.PERSON)


def message_local_part(mail_id: str) -> str:
    """Returns what stands before the @ in the Message-ID of a mail."""
    return re.sub(r"[^A-Za-z0-9-]", lambda c: "." if c[0] == ":" else f"_{ord(c[0]):02x}_", mail_id)


def of_row(row: Document, at: datetime, grace: Grace) -> Iterator[Finding]:
    """Yields that an open outbox row has waited too long for its answer."""
    waited = at - opened_at(row)
    if waited >= grace.late:
        detail = (
            f"{row['subject']} has waited {waited.total_seconds():.0f} s in {row['outbox']}, "
            f"told {row['emission']} times"
        )
        yield Finding(OUTBOX, row["_id"], detail)


def opened_at(row: Document) -> datetime:
    """Returns since when a row is open: one that was opened again says so in its `ce-time`."""
    created: datetime = row["created_at"]
    told = row["headers"].get("ce-time")
    return max(created, datetime.fromisoformat(told)) if told else created


def of_product(sums: Sums) -> Iterator[Finding]:
    """Yields what is wrong with a product's stock."""
    at_hand, out = sums.stock, sums.held + sums.sold
    if at_hand is None:
        if sums.ledger or sums.rows_of_orders or out:
            detail = (
                f"there is no such product: it was not erased, {sums.rows_of_orders} ledger rows "
                f"of orders and {out} units of reservations are about it"
            )
            yield Finding(STOCK, sums.product_id, detail)
        return
    formula = (
        f"initial {sums.initial} + restocked {sums.restocked} - held {sums.held} - "
        f"sold {sums.sold} = {sums.initial + sums.restocked - out}"
    )
    if at_hand < 0:
        yield Finding(STOCK, sums.product_id, f"its stock is negative: {at_hand}")
    if at_hand != sums.ledger:
        detail = f"{formula} and its ledger rows sum to {sums.ledger}, but its stock is {at_hand}"
        mends = (Mend(Verb.EXPLAIN, sums.product_id),)
        yield Finding(STOCK, sums.product_id, detail, mends=mends)
    elif sums.taken != out:
        detail = f"{formula}, but its ledger says that orders have taken {sums.taken}"
        yield Finding(STOCK, sums.product_id, detail)


def _template(mail: Document) -> str:
    return str(mail["_id"][25:])


def _same_items(case: Case) -> Iterator[Finding]:
    order, reservation = case.order, case.reservation
    if order is None or reservation is None:
        return
    if reservation["state"] not in _TAKING and not reservation["products"]:
        return  # a tombstone, or the refusal of what was no event
    if _items(order) != _items(reservation):
        detail = f"its reservation, {reservation['state']}, is for other items than the order"
        yield Finding(RESERVATIONS, case.id, detail)


def _items(document: Document) -> dict[Any, int]:
    return dict(zip(document["products"], document["quantities"], strict=True))


def _booking(case: Case, status: str) -> tuple[Mend, ...]:
    if case.moves:  # inventory must not take them again: the ledger says what was reserved
        return (Mend(Verb.BOOK, case.id),)
    if status == "CANCELLED":
        return (Mend(Verb.TELL, case.id, OrderCancelled.subject),)
    created = Mend(Verb.TELL, case.id, OrderCreated.subject)
    if status == "COMPLETED":
        return (created, Mend(Verb.TELL, case.id, OrderCompleted.subject))
    return (created,)


def _next_fact(status: str, stock: str, state: str) -> str | None:
    """Returns the fact that inventory has still to hear, or to answer, for the states to fit."""
    if status == "CANCELLED" and state != "SOLD":
        return OrderCancelled.subject
    if status == "COMPLETED" and state in _TAKING:
        return OrderCompleted.subject
    if (status, stock) == ("PENDING", "AWAITING"):
        return OrderCreated.subject
    return None

"""Holds the clients' book against the records: what is lost, doubled or wrong, by name."""

from collections import Counter
from collections.abc import Iterator

from mercato.storm.book import Book
from mercato.storm.records import Records

# Which reservation an order may have once all is quiet; None: it has none yet.
_FITS = {
    ("PENDING", "RESERVED"): {"HELD"},
    ("COMPLETED", "RESERVED"): {"SOLD"},
    ("CANCELLED", "RELEASED"): {"RELEASED", "REJECTED"},  # told of both, in either order
    ("CANCELLED", "REJECTED"): {"REJECTED"},
}


def missing_orders(book: Book, records: Records) -> Iterator[str]:
    """Acknowledged to a client, and not there."""
    for order in book.acknowledged():
        if order.order_id not in records.orders:
            yield order.order_id


def altered_orders(book: Book, records: Records) -> Iterator[str]:
    """There, and not what was acknowledged: another owner, key, line or total."""
    for placed in book.acknowledged():
        order = records.orders.get(placed.order_id)
        total = sum(book.products[p].price * q for p, q in placed.lines.items())
        wanted = (placed.customer.id, placed.key, placed.lines, total)
        if order and (order.user_id, order.key, order.lines, order.total) != wanted:
            yield placed.order_id


def surplus_orders(book: Book, records: Records) -> Iterator[str]:
    """A second order of one key, or one that no client has asked for."""
    keys: set[str] = set()
    for order in records.orders.values():
        placed = book.orders.get(order.key)
        if placed is None or order.key in keys or placed.order_id not in ("", order.id):
            yield order.id
        keys.add(order.key)


def unanswered(book: Book) -> Iterator[str]:
    """Orders and restocks whose clients never got an answer."""
    yield from (order.key for order in book.orders.values() if not order.order_id)
    yield from (restock.key for restock in book.restocks if restock.acknowledged_s is None)


def broken_words(book: Book, records: Records) -> Iterator[str]:
    """A cancellation or completion was acknowledged, and the order is something else."""
    for placed in book.acknowledged():
        order = records.orders.get(placed.order_id)
        told = {"CANCELLED"} if placed.cancelled else set()
        told |= {"COMPLETED"} if placed.completed else set()
        if order and told and told != {order.status}:
            yield placed.order_id


def unsettled_orders(records: Records) -> Iterator[str]:
    """Neither reserved nor at an end."""
    yield from (order.id for order in records.orders.values() if not order.settled)


def misfits(records: Records) -> Iterator[str]:
    """An order and its reservation that say different things."""
    for order in records.orders.values():
        held = records.reservations.get(order.id)
        fitting = _FITS.get((order.status, order.stock), set())
        takes_other = held and held.state in ("HELD", "SOLD") and held.lines != order.lines
        if held is None or held.state not in fitting or takes_other:
            yield order.id
    yield from (each for each in records.reservations if each not in records.orders)


def wrong_by_ledger(records: Records) -> Iterator[str]:
    """A product whose stock is not the sum of its ledger, or is below zero."""
    sums: Counter[str] = Counter()
    for move in records.moves:
        sums[move.product_id] += move.delta
    for product, stock in records.stock.items():
        if stock != sums[product] or stock < 0:
            yield product


def wrong_by_book(book: Book, records: Records) -> Iterator[str]:
    """A product whose stock is not initial + restocked - taken, by what the clients know."""
    expected = Counter({product.id: product.initial for product in book.products.values()})
    for restock in book.restocks:
        expected[restock.product_id] += restock.delta if restock.acknowledged_s is not None else 0
    for placed in book.acknowledged():
        order = records.orders.get(placed.order_id)
        for product, units in placed.lines.items() if order and order.takes else ():
            expected[product] -= units
    for product in book.products:
        if records.stock.get(product) != expected[product]:
            yield product


def double_decrements(records: Records) -> Iterator[str]:
    """An order whose units were taken twice, or not as its reservation says."""
    taken: dict[str, Counter[str]] = {}
    for move in records.moves:
        kind, _, order_id = move.by.partition(":")
        if kind == "order" and move.cause == "held":
            taken.setdefault(order_id, Counter())[move.product_id] -= move.delta
    for order_id, units in taken.items():
        held = records.reservations.get(order_id)
        if held is None or dict(held.lines) != dict(units):
            yield order_id


def partial_orders(records: Records) -> Iterator[str]:
    """An order of which some lines were taken and others were not."""
    taken: dict[str, set[str]] = {}
    for move in records.moves:
        if move.cause == "held":
            taken.setdefault(move.by.removeprefix("order:"), set()).add(move.product_id)
    for order_id, products in taken.items():
        order = records.orders.get(order_id)
        if order and products != set(order.lines):
            yield order_id


def expected_mails(book: Book, records: Records) -> dict[str, str]:
    """Returns the Message-IDs' local parts that there must be, with whom each is for."""
    emails = {account.id: account.email for account in (*book.customers, *book.staff)}
    mails = {f"{account_id}.welcome": email for account_id, email in emails.items()}
    for order in records.orders.values():
        email = emails.get(order.user_id, "")
        if order.reserved:
            mails[f"{order.id}.order-confirmed"] = email
        if order.status != "PENDING":
            mails[f"{order.id}.order-{order.status.lower()}"] = email
    return mails


def lost_mails(book: Book, records: Records) -> Iterator[str]:
    """Owed to somebody, and not in the mailbox, or there for somebody else."""
    there = {_local(each): to for each, to in records.recipients.items()}
    for mail, email in expected_mails(book, records).items():
        if there.get(mail) != email:
            yield mail


def surplus_mails(book: Book, records: Records) -> Iterator[str]:
    """Delivered twice (once for each time too many), or owed to nobody."""
    expected = expected_mails(book, records)
    for message_id, times in records.delivered.items():
        too_many = times - (_local(message_id) in expected)
        yield from [message_id] * too_many


def unresolved_mails(records: Records) -> Iterator[str]:
    """Not sent: parked, failed or still on the way."""
    yield from (mail for mail, state in records.mails.items() if state != "SENT")


def _local(message_id: str) -> str:
    return message_id.partition("@")[0]

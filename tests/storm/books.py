"""A small book and the records that fit it, for tests of what the verdict sees."""

from collections import Counter

from mercato.storm.book import Book, Customer, Placed, Product, Restock
from mercato.storm.records import Move, Order, Records, Reservation

ADMIN = Customer("staff1", "admin@shop.example", "", "")
ANN = Customer("user1", "ann@shop.example", "", "")
DOMAIN = "@mercato.example"


def book() -> Book:
    """Three orders: one is held, one sold, one called off; one restock."""
    found = Book([ADMIN], customers=[ANN], hot="p1")
    found.products = {"p1": Product("p1", 250, 10), "p2": Product("p2", 100, 5)}
    for number, lines in enumerate(({"p1": 1}, {"p1": 2, "p2": 1}, {"p2": 3}), 1):
        placed = Placed(f"key{number}", ANN, lines, 0.0, 1.0, f"order{number}", 1)
        found.orders[placed.key] = placed
    found.orders["key2"].completed = True
    found.orders["key3"].cancelled = True
    found.restocks.append(Restock("r1", "p2", 4, 1.0))
    return found


def records() -> Records:
    """What must have been kept of it."""
    a, b, c = {"p1": 1}, {"p1": 2, "p2": 1}, {"p2": 3}
    orders = [
        Order("order1", ANN.id, "key1", a, 250, "PENDING", "RESERVED", reserved=True),
        Order("order2", ANN.id, "key2", b, 600, "COMPLETED", "RESERVED", reserved=True),
        Order("order3", ANN.id, "key3", c, 300, "CANCELLED", "RELEASED", reserved=True),
    ]
    states = {"order1": ("HELD", a), "order2": ("SOLD", b), "order3": ("RELEASED", c)}
    moves = [Move("p1", 10, "initial", "user:staff1"), Move("p2", 5, "initial", "user:staff1")]
    moves.append(Move("p2", 4, "restocked", "user:staff1"))
    for order in orders:
        moves += [Move(p, -q, "held", f"order:{order.id}") for p, q in order.lines.items()]
    moves.append(Move("p2", 3, "released", "order:order3"))
    mails = ["staff1.welcome", "user1.welcome", *(f"order{n}.order-confirmed" for n in (1, 2, 3))]
    mails += ["order2.order-completed", "order3.order-cancelled"]
    ids = [mail + DOMAIN for mail in mails]
    return Records(
        orders={order.id: order for order in orders},
        reservations={name: Reservation(state, lines) for name, (state, lines) in states.items()},
        moves=moves,
        stock={"p1": 7, "p2": 8},
        mails=dict.fromkeys(ids, "SENT"),
        delivered=Counter(ids),
        recipients={each: (ADMIN if "staff1" in each else ANN).email for each in ids},
        dead_letters=0,
    )

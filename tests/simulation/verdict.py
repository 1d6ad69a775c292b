"""What must hold: all the time, and when everything has come to rest."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.simulation.services import World
from tests.simulation.shop import Shop

FITTING: Final = {  # (status, stock) of an order at rest -> what its reservation may be
    ("PENDING", "RESERVED"): {"HELD"},
    ("COMPLETED", "RESERVED"): {"SOLD"},
    ("CANCELLED", "RELEASED"): {"RELEASED", "REJECTED"},
    ("CANCELLED", "REJECTED"): {"REJECTED"},
}
OUTBOXES: Final = ("order_outbox", "inventory_outbox")


def documents(world: World, name: str) -> list[Mapping[str, Any]]:
    return [stored.data for stored in world.store.docs[name].values()]


def at_rest(world: World) -> bool:
    """Whether nothing is on its way any more."""
    if any(world.store.due[name] for name in OUTBOXES):
        return False
    return all(mail["state"] == "SENT" for mail in documents(world, "mails"))


def lines(reservation: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for line in reservation["items"]:
        yield str(line["product_id"]), line["quantity"]


def taken(world: World) -> Counter[str]:
    """Returns the units that are held or sold, by product."""
    units: Counter[str] = Counter()
    for reservation in documents(world, "reservations"):
        if reservation["state"] in ("HELD", "SOLD"):
            for product_id, quantity in lines(reservation):
                units[product_id] += quantity
    return units


def ledger(world: World, *causes: str) -> Counter[str]:
    """Returns the sum of the ledger's lines, of all or of some causes, by product."""
    units: Counter[str] = Counter()
    for line in documents(world, "stock_ledger"):
        if not causes or line["cause"] in causes:
            units[str(line["product_id"])] += line["delta"]
    return units


def stock_faults(world: World) -> Iterator[str]:
    """Yields where initial + restocked - held - sold = stock does not hold; it always must."""
    gone, booked = taken(world), ledger(world)
    bought = ledger(world, "initial", "restocked")
    for product in documents(world, "products"):
        name, stock = str(product["_id"]), product["stock"]
        if stock < 0:
            yield f"product {name} has {stock} units"
        if stock != bought[name] - gone[name]:
            yield f"product {name}: {bought[name]} bought, {gone[name]} taken, {stock} left"
        if stock != booked[name]:
            yield f"product {name} has {stock} units, its ledger {booked[name]}"


def faults(world: World, shop: Shop) -> Iterator[str]:
    """Yields what is wrong after everything has come to rest."""
    yield from world.findings
    yield from stock_faults(world)
    yield from _order_faults(world, shop)
    yield from _reservation_faults(world)
    yield from _restock_faults(world, shop)
    yield from _mail_faults(world)
    for name in OUTBOXES:
        for row in documents(world, name):
            if "not_before" in row or row["state"] != "closed":
                yield f"row {row['_id']} of {name} is {row['state']}"
    for letter in documents(world, "dead_letters"):
        if letter["text"] not in world.poison:
            yield f"dead letter: {letter['subject']} {letter['reason']}"


def _order_faults(world: World, shop: Shop) -> Iterator[str]:
    orders = {str(order["_id"]): order for order in documents(world, "orders")}
    by_key = Counter((str(o["user_id"]), o["idempotency_key"]) for o in orders.values())
    yield from (f"{count} orders of key {key}" for key, count in by_key.items() if count > 1)
    unknown = set(by_key) - {(wish.user_id, wish.key) for wish in shop.wishes}
    yield from (f"an order that nobody wanted: {key}" for key in unknown)
    for wish in shop.wishes:
        if len(wish.ids) != 1:
            yield f"{wish.key} was answered with {sorted(wish.ids)}"
        for order_id in wish.ids:
            order = orders.get(order_id)
            if order is None:
                yield f"order {order_id} was acknowledged and is lost"
                continue
            if dict(lines(order)) != wish.items:
                yield f"order {order_id} is not what was wanted"
            if wish.set_to and not wish.set_to <= {order["status"]}:
                yield f"order {order_id} was set to {wish.set_to} and is {order['status']}"
    for order_id, order in orders.items():
        if (order["status"], order["stock"]) not in FITTING:
            yield f"order {order_id} is {order['status']}, its stock {order['stock']}"
        if order["version"] != len(order["history"]):
            yield f"order {order_id}: version {order['version']}, history {order['history']}"


def _reservation_faults(world: World) -> Iterator[str]:
    orders = {order["_id"]: order for order in documents(world, "orders")}
    reservations = {each["_id"]: each for each in documents(world, "reservations")}
    yield from (f"a reservation without an order: {i}" for i in set(reservations) - set(orders))
    booked = Counter(
        (line["_id"], line["delta"])
        for line in documents(world, "stock_ledger")
        if line["cause"] in ("held", "released")
    )
    expected: Counter[tuple[str, int]] = Counter()
    for order_id, order in orders.items():
        reservation = reservations.get(order_id)
        state = reservation["state"] if reservation else None
        if state not in FITTING.get((order["status"], order["stock"]), ()):
            yield f"order {order_id} is {order['status']}, its reservation {state}"
        if reservation is None or state == "REJECTED":
            continue
        for product_id, quantity in lines(reservation):
            expected[f"{order_id}:{product_id}:held", -quantity] += 1
            if state == "RELEASED":
                expected[f"{order_id}:{product_id}:released", quantity] += 1
    if booked != expected:
        yield f"the ledger lacks {expected - booked} and has {booked - expected} too many"


def _restock_faults(world: World, shop: Shop) -> Iterator[str]:
    lines = {line["_id"]: line for line in documents(world, "stock_ledger")}
    for restock in shop.restocks:
        line = lines.get(f"{restock.product_id}:adjusted:{restock.key}")
        if line is None or line["delta"] != restock.delta:
            yield f"restock {restock} is {line}"
    count = sum(line["cause"] == "restocked" for line in lines.values())
    if count != len(shop.restocks):
        yield f"{len(shop.restocks)} restocks have {count} lines"


def _mail_faults(world: World) -> Iterator[str]:
    expected: set[str] = set()
    for order in documents(world, "orders"):
        done = {entry["action"] for entry in order["history"]}
        kinds = {
            "order-confirmed": "stock reserved" in done,
            "order-cancelled": order["status"] == "CANCELLED",
            "order-completed": order["status"] == "COMPLETED",
        }
        expected |= {
            f"{order['_id']}.{kind}@shop.example" for kind, is_so in kinds.items() if is_so
        }
    arrived = world.mail_server.arrived
    yield from (f"mail {name} arrived {n} times" for name, n in arrived.items() if n > 1)
    yield from (f"mail {name} never arrived" for name in sorted(expected - set(arrived)))
    yield from (f"mail {name} should not be" for name in sorted(set(arrived) - expected))
    for mail in documents(world, "mails"):
        if mail["state"] != "SENT":
            yield f"mail {mail['_id']} is {mail['state']}: {mail.get('reason')}"

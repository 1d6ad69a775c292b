"""Mutants: holding, selling and giving back units."""

from typing import Final

from tests.mutants.mutant import Edit, Mutant

STOCK: Final = (
    Mutant(
        "no inbox",
        "what is known of an order is not looked up: a repeated creation takes stock again",
        (
            Edit(
                "inventory/repository/stock.py",
                "reservations = {r.order_id: r for r in map(reservation_of, documents)}",
                "reservations = {\n"
                "            r.order_id: r for r in map(reservation_of, documents)"
                ' if r.state != "HELD"\n        }',
            ),
            Edit(
                "inventory/repository/stock.py",
                "await self._reservations.insert_many(fresh, ordered=False, session=session)",
                "await self._reservations.bulk_write(\n                ["
                'UpdateMany({"_id": d["_id"]}, {"$set": d}, upsert=True) for d in fresh],\n'
                "                session=session,\n            )",
            ),
            Edit(
                "inventory/model.py",
                'move_id = f"{order_id}:{product_id}:{cause}"',
                'move_id = f"{order_id}:{product_id}:{cause}:{new_id()}"',
            ),
        ),
    ),
    Mutant(
        "no stock check",
        "an order is held whatever is left, and no condition or rule of the database says no",
        (
            Edit(
                "inventory/model.py",
                "elif any(self.stock[product_id] < quantity for product_id, quantity in "
                "wanted.items()):",
                "elif False:",
            ),
            Edit(
                "inventory/repository/stock.py",
                '"stock": {"$gte": max(-delta, 0)}},',
                "},",
            ),
            Edit("inventory/repository/documents.py", '"stock": _COUNT | {"minimum": 0},', ""),
        ),
    ),
    Mutant(
        "stock changes outside of the transaction",
        "the stock's change lacks its session: it stays when the rest is rolled back",
        (
            Edit(
                "inventory/repository/stock.py",
                "await self._products.bulk_write(changes, ordered=False, session=session)",
                "await self._products.bulk_write(changes, ordered=False)",
            ),
        ),
    ),
    Mutant(
        "no tombstone",
        "a cancellation that overtakes its creation is answered and leaves nothing",
        (
            Edit(
                "inventory/model.py",
                "self._book(known := Reservation(fact.order_id, State.RELEASED, {}))",
                "known = Reservation(fact.order_id, State.RELEASED, {})\n"
                "            self.reservations[fact.order_id] = known",
            ),
        ),
    ),
    Mutant(
        "released twice",
        "a cancellation that is told again puts the units back again",
        (
            Edit(
                "inventory/model.py",
                "            known.state = State.RELEASED\n            self._book(known)",
                "            self._book(known)",
            ),
            Edit(
                "inventory/model.py",
                'move_id = f"{order_id}:{product_id}:{cause}"',
                'move_id = f"{order_id}:{product_id}:{cause}:{new_id()}"',
            ),
        ),
    ),
    Mutant(
        "a line of the ledger is forgotten",
        "what goes back is not booked",
        (
            Edit(
                "inventory/repository/stock.py",
                "lines = [move_document(move, at) for move in desk.moves]",
                "lines = [move_document(move, at) for move in desk.moves if move.delta < 0]",
            ),
        ),
    ),
    Mutant(
        "a restock has no key",
        "a restock that is asked for again is made again",
        (
            Edit(
                "inventory/usecase.py",
                "move = adjustment(product_id, delta, by, reason, key or new_id())",
                "move = adjustment(product_id, delta, by, reason, new_id())",
            ),
        ),
    ),
)

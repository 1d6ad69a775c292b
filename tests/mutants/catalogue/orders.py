"""Mutants: placing orders and moving them on."""

from typing import Final

from tests.mutants.mutant import Edit, Mutant

ORDERS: Final = (
    Mutant(
        "a key is good for two orders",
        "the index over user and key is not unique",
        (
            Edit(
                "order/repository.py",
                'name="idempotency", unique=True,',
                'name="idempotency",',
            ),
        ),
    ),
    Mutant(
        "a duplicate key is swallowed in the transaction",
        "the body goes on after the error that has ended its transaction",
        (
            Edit(
                "order/repository.py",
                "            await self._orders.insert_many(documents, ordered=False, "
                "session=session)\n",
                "            try:\n"
                "                await self._orders.insert_many(documents, ordered=False, "
                "session=session)\n"
                "            except BulkWriteError:\n"
                "                return\n",
            ),
        ),
    ),
    Mutant(
        "written to one member",
        "a commit waits for no majority: a fail-over loses what was acknowledged",
        (
            Edit(
                "platform/mongo.py",
                '_WRITE = WriteConcern(w="majority", j=True)',
                "_WRITE = WriteConcern(w=1)",
            ),
        ),
    ),
    Mutant(
        "no owner in the question",
        "whoever knows an order's id may cancel it",
        (
            Edit(
                "order/usecase.py",
                'o if o is not None and owner in ("", o.user_id) else None',
                "o",
            ),
        ),
    ),
    Mutant(
        "completed without stock",
        "an order can be completed before its units are held",
        (
            Edit(
                "order/model.py",
                "if self.status is not Status.PENDING or self.stock is not Stock.RESERVED:",
                "if self.status is not Status.PENDING:",
            ),
        ),
    ),
    Mutant(
        "cancelled after completion",
        "cancelling does not look at what the order is",
        (
            Edit(
                "order/model.py",
                "        if self.status is not Status.PENDING:\n"
                '            raise OrderNotCancellable(f"order {self.id} is {self.status}")\n'
                "        self.status, self.reason",
                "        self.status, self.reason",
            ),
        ),
    ),
)

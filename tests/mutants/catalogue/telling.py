"""Mutants: telling each fact until it is answered, once."""

from typing import Final

from tests.mutants.mutant import Edit, Mutant

TELLING: Final = (
    Mutant(
        "the order's id is the message id",
        "`Nats-Msg-Id` without event and emission: the stream swallows what follows",
        (
            Edit(
                "platform/relay.py",
                '"Nats-Msg-Id": f"{row.id}:{row.emission}",',
                '"Nats-Msg-Id": row.about,',
            ),
        ),
    ),
    Mutant(
        "a row is closed by the broker's word",
        "a row that waits for an answer is closed by the PubAck",
        (
            Edit(
                "platform/relay.py",
                "return row.id in taken and not row.answered",
                "return row.id in taken",
            ),
        ),
    ),
    Mutant(
        "nothing is told twice",
        "a row that was told once is due in three years",
        (
            Edit(
                "platform/relay.py",
                "pause_s = again_after_s(emission) if told else AWAY_S",
                "pause_s = 1e8 if told else AWAY_S",
            ),
            Edit(
                "platform/outbox.py",
                "wait_s = self._answers.patience_s if in_hand else 0.0",
                "wait_s = 1e8 if in_hand else 0.0",
            ),
        ),
    ),
    Mutant(
        "no reconciler",
        "nobody goes round a bus that gives no answer",
        (
            Edit(
                "order/reconciler.py",
                'answers = [await self._ask(row["about"]) for row in rows]',
                "answers: list[OrderFact | None] = [None for row in rows]",
            ),
        ),
    ),
    Mutant(
        "told outside of the transaction",
        "outbox rows are written beside the change that they tell of",
        (
            Edit(
                "platform/outbox.py",
                "await self.rows.insert_many(documents, ordered=False, session=session)",
                "await self.rows.insert_many(documents, ordered=False)",
            ),
        ),
    ),
    Mutant(
        "acknowledged before the commit",
        "a delivery is acknowledged before it is handled",
        (
            Edit(
                "platform/bus/consumer.py",
                "        try:\n            await self._handle(deliveries)\n",
                "        try:\n            for message in messages:\n"
                "                await message.ack()\n"
                "            await self._handle(deliveries)\n",
            ),
        ),
        found_by="tests/platform/test_bus.py::test_what_must_wait_is_delivered_again",
        slow=True,
    ),
)

"""Sessions and their transactions, run again as the drivers' specification says."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from tests.simulation.mongo.connection import TIMEOUT_S, Connection
from tests.simulation.mongo.server import TRANSIENT, Transaction

UNKNOWN = {"errorLabels": ["UnknownTransactionCommitResult"]}
T = TypeVar("T")


class Session:
    """A client session: as long as a transaction is open, what is written goes there."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._safe = True
        self._transaction: Transaction | None = None
        self._wrote = False

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._abort()

    @property
    def transaction(self) -> Transaction:
        """The open transaction; begins with the first operation."""
        if self._transaction is None:
            self._transaction = Transaction(self._client.server, self._safe)
        if not self._transaction.lives():
            raise OperationFailure("NoSuchTransaction", 251, {**TRANSIENT, "code": 251})
        return self._transaction

    async def with_transaction(
        self, body: Callable[["Session"], Awaitable[T]], *,
        read_concern: Any = None, write_concern: WriteConcern | None = None,
    ) -> T:  # fmt: skip
        """As the drivers' specification says: transient errors run `body` again, in time."""
        self._safe = write_concern is None or majority(write_concern)
        deadline = self._client.server.time() + TIMEOUT_S
        pause_s = 0.005
        while True:
            self._transaction = None
            try:
                result = await body(self)
                await self._commit(deadline)
            except BaseException as failure:
                await self._abort()
                again = isinstance(failure, PyMongoError) and failure.has_error_label(
                    "TransientTransactionError"
                )
                if not again or self._client.server.time() + pause_s >= deadline:
                    raise
                await asyncio.sleep(pause_s * self._client.trouble.chance.random())
                pause_s = min(pause_s * 1.5, 0.5)
            else:
                return result

    async def _commit(self, deadline: float) -> None:
        while self._transaction is not None:
            try:
                await self._client.call("commit", self._committed, labels=UNKNOWN)
            except PyMongoError as failure:
                unknown = failure.has_error_label("UnknownTransactionCommitResult")
                if not unknown or self._client.server.time() >= deadline:
                    raise
                await asyncio.sleep(0.005)
            else:
                self._transaction = None

    def _committed(self) -> None:
        transaction = self._transaction
        assert transaction is not None
        if transaction.state != "committed" and not transaction.lives():
            raise OperationFailure("NoSuchTransaction", 251, {**TRANSIENT, "code": 251})
        self._client.server.commit(transaction)

    async def _abort(self) -> None:
        """Asks once; a server that does not hear it ends the transaction in its own time."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None and transaction.state == "open" and self._client.process.alive:
            try:
                await self._client.call("abort", transaction.abort)
            except PyMongoError:
                return


def majority(concern: WriteConcern) -> bool:
    return concern.document.get("w") == "majority" and concern.document.get("j") is True

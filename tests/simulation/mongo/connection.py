"""The way to the server: late, refused, cut before a request was applied, or after."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from pymongo.errors import AutoReconnect, PyMongoError, ServerSelectionTimeoutError

from tests.simulation.chance import Trouble
from tests.simulation.loop import Process
from tests.simulation.mongo.server import Server

TIMEOUT_S = 2.5  # the platform's own limit for the database
DAWDLE_S = 0.3
T = TypeVar("T")


class Connection:
    """A process's way to the server."""

    def __init__(self, server: Server, process: Process, trouble: Trouble) -> None:
        self.server = server
        self.process = process
        self.trouble = trouble

    async def call(self, what: str, work: Callable[[], T], *, labels: Any = None) -> T:
        """Asks the server; the request, its answer or both may be late or lost."""
        self.process.check()
        trouble, server = self.trouble, self.server
        if server.away_until > server.time():
            await self._until_back(labels)
        starts = server.starts
        late_s = self._late_s()
        if late_s and trouble.chance.random() < 0.5:
            await asyncio.sleep(late_s)
            late_s = 0.0
        if server.starts != starts or trouble.happens("store_refuses"):
            trouble.note(self.process.name, f"{what}: refused")
            raise _cut(labels)
        result = work()
        if late_s:
            await asyncio.sleep(late_s)
        if server.starts != starts or trouble.happens("store_loses_answers"):
            trouble.note(self.process.name, f"{what}: answer lost")
            raise _cut(labels)
        return result

    def _late_s(self) -> float:
        trouble = self.trouble
        if trouble.happens("store_dawdles"):
            return trouble.pause_s(DAWDLE_S)
        often = 0.3 if trouble.on else 0.05
        return trouble.pause_s(0.002) if trouble.chance.random() < often else 0.0

    async def _until_back(self, labels: Any) -> None:
        wait_s = self.server.away_until - self.server.time()
        await asyncio.sleep(min(wait_s, TIMEOUT_S))
        if wait_s > TIMEOUT_S:
            failure = ServerSelectionTimeoutError("No primary")
            raise _labelled(failure, labels)


def _cut(labels: Any) -> PyMongoError:
    return _labelled(AutoReconnect("connection closed"), labels)


def _labelled(failure: PyMongoError, labels: Any) -> PyMongoError:
    for label in labels["errorLabels"] if labels else ():
        failure._add_error_label(label)
    return failure

"""The gateways behind the balancer: which would take a request now, and which are lost."""

import asyncio
import itertools
from collections.abc import Sequence

import structlog

from mercato.embedded import probes
from mercato.platform.tasks import Tasks

LOOK_S = 0.2
ANSWER_S = 3.0  # one that is merely busy must not have its requests done by another as well

log = structlog.get_logger()


class Backend:
    """One gateway: `ready` when /readyz says so, `silent` when it says nothing at all.

    Whoever waits for the first word of an answer stands in `waiting`, if another may be asked too.
    """

    def __init__(self, address: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.ready = False
        self.silent = True
        self.waiting: set[asyncio.WriteTransport] = set()
        self._questions = Tasks()

    def give_up(self) -> None:
        """Ends the connections of those who wait: they turn to another."""
        for transport in tuple(self.waiting):
            transport.abort()

    async def look(self) -> None:
        """Asks it once."""
        before = self.ready, self.silent
        # A task of its own: whatever becomes of one question, a cancellation that is lost or one
        # that nobody meant, the next one is asked.
        asking = self._questions.start(probes.http_status(self.port, "/readyz"))
        await asyncio.wait([asking], timeout=ANSWER_S)
        asking.cancel()
        answered = asking.done() and not asking.cancelled() and asking.exception() is None
        status = asking.result() if answered else 0
        self.ready, self.silent = status == 200, not status
        if before != (self.ready, self.silent):
            log.info("gateway", port=self.port, ready=self.ready, silent=self.silent)


class Backends:
    """All of them, taken in turns."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.all = [Backend(address) for address in addresses]
        self._turns = itertools.count()

    async def watch(self) -> None:
        """Looks at each again and again, for ever."""
        async with asyncio.TaskGroup() as group:
            for backend in self.all:
                group.create_task(self._watch(backend))

    def in_order(self) -> list[Backend]:
        """Returns all: those that are ready, in turns, then those that answer, then the silent."""
        turn = next(self._turns) % len(self.all)
        turned = self.all[turn:] + self.all[:turn]
        return sorted(turned, key=lambda backend: (not backend.ready, backend.silent))

    async def _watch(self, backend: Backend) -> None:
        while True:
            await backend.look()
            if backend.silent and any(other.ready for other in self.all):
                backend.give_up()
            await asyncio.sleep(LOOK_S)

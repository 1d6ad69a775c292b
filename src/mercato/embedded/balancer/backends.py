"""The gateways behind the balancer: which would take a request now, and which are lost."""

import asyncio
import itertools
from collections.abc import Sequence

import structlog

from mercato.embedded import probes

LOOK_S = 0.2
ANSWER_S = 1.0

log = structlog.get_logger()


class Backend:
    """One gateway. It is `ready` when /readyz says so, and `lost` when it says nothing at all."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.ready = False
        self.lost = asyncio.Event()

    async def look(self) -> None:
        """Asks it once."""
        before = self.ready, self.lost.is_set()
        status = 0
        try:
            async with asyncio.timeout(ANSWER_S):
                status = await probes.http_status(self.port, "/readyz")
        except TimeoutError:
            pass
        self.ready = status == 200
        if status:
            self.lost.clear()
        else:
            self.lost.set()
        if before != (self.ready, self.lost.is_set()):
            log.info("gateway", port=self.port, ready=self.ready, lost=self.lost.is_set())


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
        """Returns all: those that are ready, in turns, then those that answer, then the lost."""
        turn = next(self._turns) % len(self.all)
        turned = self.all[turn:] + self.all[:turn]
        return sorted(turned, key=lambda backend: (not backend.ready, backend.lost.is_set()))

    async def _watch(self, backend: Backend) -> None:
        while True:
            await backend.look()
            await asyncio.sleep(LOOK_S)

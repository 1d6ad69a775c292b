"""/livez, /readyz and /metrics: for those who run the gateway."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import Answer
from mercato.kernel.errors import Unavailable

FRESH_S: Final = 1.0
TIMEOUT_S: Final = 0.5


class NotReady(Unavailable):
    """Something that the gateway cannot do without is away."""


class Readiness:
    """Whether the services that the gateway cannot do without are there; asked once a second."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel]) -> None:
        self._health: dict[str, Any] = {
            name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()
        }
        self._checks: dict[str, str] = {}
        self._until = 0.0
        self._asking = asyncio.Lock()
        self.draining = False

    async def checks(self) -> dict[str, str]:
        """Returns `ok` or `away` for each service, and `stopping` for the gateway itself."""
        async with self._asking:
            if time.monotonic() >= self._until:
                names = list(self._health)
                found = await asyncio.gather(*(self._check(name) for name in names))
                self._checks = dict(zip(names, found, strict=True))
                self._until = time.monotonic() + FRESH_S
        return {"gateway": "stopping" if self.draining else "ok"} | self._checks

    def drain(self) -> None:
        """Says from now on that the gateway is stopping."""
        self.draining = True

    async def _check(self, name: str) -> str:
        request = health_pb2.HealthCheckRequest()
        try:
            answer = await self._health[name].Check(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return "away"
        return "ok" if answer.status == health_pb2.HealthCheckResponse.SERVING else "away"


class Alive(Answer, frozen=True):
    status: str


class Ready(Answer, frozen=True):
    status: str
    checks: dict[str, str]


class Probes:
    """For those who run the gateway: is it up, is it of use, how is it doing?"""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    @operation("GET", "/livez", Who.ANYONE, Alive)
    async def livez(self) -> Reply:
        """Tell that the process answers."""
        return reply(Alive("alive"))

    @operation("GET", "/readyz", Who.ANYONE, Ready, refusals=[503])
    async def readyz(self) -> Reply:
        """Tell whether the services that orders need are there."""
        checks = await self._readiness.checks()
        bad = [f"{name} is {state}" for name, state in checks.items() if state != "ok"]
        if bad:
            raise NotReady(", ".join(bad))
        return reply(Ready("ready", checks))

    @operation("GET", "/metrics", Who.ANYONE, str)
    async def metrics(self) -> Reply:
        """Measures in the text format of Prometheus."""
        return Reply(generate_latest(), kind=CONTENT_TYPE_LATEST)

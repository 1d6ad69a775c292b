"""/livez, /readyz and /metrics: for those who run the gateway."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import grpc
import msgspec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mercato.gateway.operation import raw_reply

FRESH_S: Final = 1.0
TIMEOUT_S: Final = 0.5


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


def routes(readiness: Readiness) -> list[HTTPRouteHandler]:
    @get("/livez")
    async def livez() -> ASGIResponse:
        return raw_reply(b'{"status":"alive"}')

    @get("/readyz")
    async def readyz() -> ASGIResponse:
        checks = await readiness.checks()
        ready = set(checks.values()) == {"ok"}
        body: dict[str, Any] = {"status": "ready" if ready else "not ready", "checks": checks}
        more = {} if ready else {"retry_after": "1"}
        return raw_reply(msgspec.json.encode(body), 200 if ready else 503, **more)

    @get("/metrics")
    async def metrics() -> ASGIResponse:
        return ASGIResponse(body=generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})

    return [livez, readyz, metrics]

"""Runs the balancer until SIGTERM or SIGINT."""

import asyncio
from dataclasses import dataclass

from mercato.embedded.balancer.backends import Backends
from mercato.embedded.balancer.proxy import Proxy
from mercato.embedded.ports import LOOPBACK
from mercato.platform import telemetry
from mercato.platform.run import run
from mercato.platform.settings import load
from mercato.platform.tasks import Tasks

STOP_GRACE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSettings:
    """Where it listens, and the gateways behind it, as `host:port` with commas."""

    port: int
    backends: str
    proxy_protocol: bool = False  # tells the gateways whose each connection is


async def main() -> None:
    """Listens on loopback only: in production a reverse proxy of yours stands here."""
    settings = load(BalancerSettings)
    telemetry.start("balancer", level="info", host=LOOPBACK, metrics_port=0)
    backends = Backends(settings.backends.split(","))
    calls = Tasks()
    proxy = Proxy(backends, calls, announces=settings.proxy_protocol)
    server = await asyncio.start_server(proxy.connected, LOOPBACK, settings.port, backlog=2048)
    try:
        await run(backends.watch(), name="balancer")
    finally:
        server.close()
        proxy.closing = True
        await calls.drain(STOP_GRACE_S)

"""The gateway's composition root: settings, channels, resources, server."""

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from socket import socket
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from mercato.events import ProductChanged
from mercato.gateway import account, docs, oauth
from mercato.gateway.catalogue import Catalogue
from mercato.gateway.client import Proxies
from mercato.gateway.cors import Cors
from mercato.gateway.edge import Edge
from mercato.gateway.email import Emails
from mercato.gateway.inventory import Inventory
from mercato.gateway.keys import KeySet
from mercato.gateway.limits import Limited, Limits
from mercato.gateway.openapi import document
from mercato.gateway.operation import BODY_BYTES_MAX, Door
from mercato.gateway.orders import Orders
from mercato.gateway.probes import Probes, Readiness
from mercato.gateway.problems import HANDLERS
from mercato.gateway.revocations import Revocations
from mercato.gateway.security import Security
from mercato.gateway.server import bound, serve
from mercato.gateway.sessions import Sessions
from mercato.gateway.settings import GatewaySettings
from mercato.gateway.shortcut import Shortcut
from mercato.gateway.tls import Certificate
from mercato.gateway.trail import Reporter, Watch
from mercato.gateway.users import Users
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform import telemetry
from mercato.platform.bus import Bus
from mercato.platform.rpc import Channels, Identity
from mercato.platform.run import run
from mercato.platform.settings import load
from mercato.platform.tokens import Tokens


async def main() -> None:
    settings = load(GatewaySettings)
    telemetry.start(
        "gateway",
        level=settings.log_level,
        host=settings.host,
        metrics_port=settings.metrics_port,
    )
    async with gateway(settings) as (_, *loops):
        await run(*loops, name="gateway")


@asynccontextmanager
async def gateway(
    settings: GatewaySettings,
) -> AsyncIterator[tuple[int, *tuple[Coroutine[Any, Any, None], ...]]]:
    """Builds the gateway; yields its port and the loops to run.

    It waits for no service: `/readyz` tells which are there.
    """
    revocations = Revocations()
    tokens = Tokens.of(settings, revoked=revocations)
    channels = Channels(tokens, "gateway", Identity.of(settings))
    certificate = Certificate.of(settings.tls_cert_file, settings.tls_key_file)
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(bound(settings.host, settings.port))
        bus = await stack.enter_async_context(Bus.open(settings.nats_url, "gateway"))
        peers = [channels.open(target, name) for name, target in _peers(settings)]
        user, stock, order, mailer = [await stack.enter_async_context(each) for each in peers]
        inventory = Inventory(channels, stock)
        readiness = Readiness({"user": user, "inventory": stock, "order": order})
        await revocations.look(channels, user)
        resources = [
            Users(channels, user), account.Account(channels, user), inventory,
            Orders(channels, order), Emails(channels, mailer), Security(channels, user),
            Sessions(channels, user, revocations), KeySet(tokens),
            *oauth.resources(channels, user), Probes(readiness),
        ]  # fmt: skip
        reporter = Reporter(channels, SecurityServiceStub(user))
        stack.push_async_callback(reporter.flush)
        limits = await stack.enter_async_context(Limits.open(settings))
        pages = account.routes(channels, user) + oauth.routes(channels, user, tokens, settings)
        app = routed(Door(tokens, settings.currency, limits), resources, pages)
        edge = layered(app, inventory.catalogue, limits, reporter, settings)
        yield (
            listening.getsockname()[1],
            _served(edge, listening, readiness, settings, certificate),
            *([certificate.renew()] if certificate else []),
            revocations.follow(channels, user),
            bus.watch(ProductChanged.subject, inventory.catalogue.changed),
            bus.watch("stock.>", inventory.catalogue.moved),
            reporter.run(),
        )


def _served(
    edge: Edge,
    listening: socket,
    readiness: Readiness,
    settings: GatewaySettings,
    certificate: Certificate | None,
) -> Coroutine[Any, Any, None]:
    return serve(
        edge, listening, readiness.drain, settings.drain_s, certificate,
        announced=settings.proxy_protocol,
    )  # fmt: skip


def layered(
    app: ASGIApp,
    catalogue: Catalogue,
    limits: Limits,
    reporter: Reporter,
    settings: GatewaySettings,
) -> Edge:
    """Returns `app` behind all that a request passes on its way, the edge first."""
    https = bool(settings.tls_cert_file) or settings.public_url.startswith("https:")
    proxies = Proxies(settings.trusted_proxies, settings.forwarded_header)
    watched = Watch(Shortcut(Limited(app, limits), catalogue, limits), reporter)
    return Edge(Cors(watched, settings.cors_origins), proxies, https=https)


def _peers(s: GatewaySettings) -> Sequence[tuple[str, str]]:
    return (
        ("user", s.user_service), ("inventory", s.inventory_service),
        ("order", s.order_service), ("mailer", s.mailer_service),
    )  # fmt: skip


def routed(door: Door, resources: list[object], pages: list[HTTPRouteHandler]) -> Litestar:
    """Returns the application: a route for every operation of `resources`, and `pages`."""
    return Litestar(
        route_handlers=[
            *(route for resource in resources for route in door.routes(resource)),
            *docs.routes(document(resources)),
            *pages,
        ],
        exception_handlers=HANDLERS,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=BODY_BYTES_MAX,
        debug=False,
    )

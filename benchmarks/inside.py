"""What a request costs inside the gateway, in one process and without a network.

    python -m benchmarks.inside [--profile CASE]

All layers are in place, the access log goes to /dev/null, and no service is there: these are the
requests that the gateway answers alone. Figures are processor time, the best of several rounds.
"""

import argparse
import asyncio
import cProfile
import os
import pstats
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import lru_cache
from typing import Any, Final

from mercato.gateway.edge import Edge
from mercato.gateway.inventory import Inventory
from mercato.gateway.limits import Limits
from mercato.gateway.listings import Listed, Listings
from mercato.gateway.main import layered, routed
from mercato.gateway.operation import Door
from mercato.gateway.orders import Orders
from mercato.gateway.product_shapes import ProductListing
from mercato.gateway.settings import GatewaySettings
from mercato.gateway.trail import Reporter
from mercato.gateway.users import Users
from mercato.kernel.clock import now, rfc3339
from mercato.kernel.identity import new_id
from mercato.pb import inventory_pb2, money_pb2, order_pb2
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform import telemetry
from mercato.platform.rpc import Channels
from mercato.platform.settings import Secret
from mercato.platform.tokens import Tokens

CALLS: Final = 1_000  # fewer than a second's, which is how long a page is remembered
ROUNDS: Final = 30
NOWHERE: Final = "127.0.0.1:9"
LOGIN: Final = b'{"email":"ada@example.com","password":"not hers"}'
HEADERS: Final = (
    (b"host", b"127.0.0.1:8080"), (b"user-agent", b"python"), (b"accept", b"*/*"),
    (b"content-type", b"application/json"), (b"content-length", b"%d" % len(LOGIN)),
)  # fmt: skip


@lru_cache
def _token() -> str:
    return Tokens(_settings().jwt_secret).access(new_id(), "customer")


def _settings() -> GatewaySettings:
    return GatewaySettings(
        jwt_secret=Secret("a secret of the measurement, of enough bytes"),
        redis_addr=NOWHERE, rate_limit_login="1/3600s", rate_limit_read="1000000/1s",
    )  # fmt: skip


@asynccontextmanager
async def _gateway() -> AsyncIterator[tuple[Edge, Inventory]]:
    settings = _settings()
    tokens = Tokens(settings.jwt_secret)
    channels = Channels(tokens, "gateway")
    async with channels.open(NOWHERE) as channel, Limits.open(settings) as limits:
        inventory = Inventory(channels, channel)
        orders, users = Orders(channels, channel), Users(channels, channel)
        orders._orders.BatchGetOrders = _orders  # type: ignore[assignment]
        door, resources = Door(tokens, "EUR", limits), [inventory, orders, users]
        reporter = Reporter(channels, SecurityServiceStub(channel))
        app = routed(door, resources, [])
        yield layered(app, inventory.catalogue, limits, reporter, settings), inventory


def _product() -> inventory_pb2.Product:
    at = rfc3339(now())
    return inventory_pb2.Product(
        id=new_id(), name="Coffee mug", description="White, 300 ml.", category="kitchen",
        stock=100, price=money_pb2.Money(minor=1999, currency="EUR"), version=1,
        created_at=at, updated_at=at,
    )  # fmt: skip


def _scope(method: str, path: str) -> dict[str, Any]:
    token = _token() if "orders" in path else ""
    bearer = [(b"authorization", f"Bearer {token}".encode())] if token else []
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 8080), "client": ("127.0.0.1", 50_000), "method": method,
        "root_path": "", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [*HEADERS, *bearer], "state": {},
    }  # fmt: skip


async def _orders(request: order_pb2.BatchGetOrdersRequest, **_: Any) -> Any:
    """Answers as the order service would, each with an order of three lines."""
    money = money_pb2.Money(minor=1999, currency="EUR")
    line = order_pb2.OrderItem(product_id=new_id(), name="Coffee mug", quantity=1, unit_price=money)
    found = [
        order_pb2.FoundOrder(
            order=order_pb2.Order(
                id=each.id, user_id=each.user_id, items=[line] * 3, total=money, status="PENDING",
                stock="RESERVED", created_at="2026-11-22T12:00:00.123Z",
                updated_at="2026-11-22T12:00:00.123Z",
            )
        )
        for each in request.orders
    ]  # fmt: skip
    return order_pb2.BatchGetOrdersResponse(results=found)


async def _receive() -> Any:
    return {"type": "http.request", "body": LOGIN, "more_body": False}


async def _us(edge: Edge, method: str, path: str, status: int) -> float:
    """Returns the processor time of a request in microseconds, over CALLS of them."""
    seen = set[int]()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.add(message["status"])

    began = time.process_time()
    for _ in range(CALLS):
        await edge(_scope(method, path), _receive, send)
        await asyncio.sleep(0)  # the log's line is part of it
    took_s = time.process_time() - began
    if seen != {status}:
        raise RuntimeError(f"{method} {path} was answered {sorted(seen)}")
    return took_s / CALLS * 1e6


async def _measure(profiled: str) -> dict[str, float]:
    product, found = _product(), dict[str, float]()

    async def listed(wanted: ProductListing) -> Listed:
        return Listed(b"[" + inventory.catalogue.know(product).body * 20 + b"]", frozenset())

    async with _gateway() as (edge, inventory):
        inventory.catalogue.lists = Listings(listed)
        cases: dict[str, tuple[str, str, int]] = {
            "product": ("GET", f"/api/inventory/{product.id}", 200),
            "product, routed": ("GET", f"/api/inventory/{product.id}/", 200),
            "list": ("GET", "/api/inventory", 200),
            "order, but for gRPC": ("GET", f"/api/orders/{new_id()}", 200),
            "login, refused": ("POST", "/api/users/authenticate", 429),
            "unknown path": ("GET", "/nothing", 404),
        }
        await edge(_scope("POST", "/api/users/authenticate"), _receive, _drop)  # the one allowed
        for name, (method, path, status) in cases.items():
            profile = cProfile.Profile() if name == profiled else None
            rounds = []
            for _ in range(ROUNDS):
                inventory.catalogue.know(product)
                await inventory.catalogue.lists.page(ProductListing())
                with profile or nullcontext():
                    rounds.append(await _us(edge, method, path, status))
            found[name] = min(rounds)
            if profile:
                pstats.Stats(profile, stream=sys.__stdout__).sort_stats("tottime").print_stats(45)
    return found


async def _drop(message: Any) -> None:
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inside", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--profile", default="", metavar="CASE", help="show where it goes")
    given, out = parser.parse_args(), sys.stdout
    with open(os.devnull, "w") as nowhere:
        sys.stdout = nowhere
        telemetry.start("gateway", level="info", host="127.0.0.1", metrics_port=0)
        found = asyncio.run(_measure(given.profile))
        sys.stdout = out
        for name, us in found.items():
            out.write(f"{name:20} {us:8.1f} us\n")


if __name__ == "__main__":
    main()

"""The way past routing: the same answers as the long way's, byte for byte, or none at all."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mercato.gateway.client import Proxies
from mercato.gateway.edge import Edge
from mercato.gateway.inventory import Inventory
from mercato.gateway.limits import Limited, Limits
from mercato.gateway.listings import Listed, Listings
from mercato.gateway.main import layered, routed
from mercato.gateway.operation import Door
from mercato.gateway.product_shapes import ProductListing
from mercato.gateway.settings import GatewaySettings
from mercato.gateway.trail import Reporter, Watch
from mercato.kernel.identity import new_id
from mercato.pb import inventory_pb2, money_pb2
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform.rpc import Channels
from mercato.platform.settings import Secret
from mercato.platform.tokens import Tokens
from tests.gateway.fakes.service import NOW

SECRET = "a secret of the tests, of enough bytes"
URL = "/api/inventory"
MUG = inventory_pb2.Product(
    id="68016c6489e4500884e8382f", name="Mug", stock=3, version=7, created_at=NOW, updated_at=NOW,
    price=money_pb2.Money(minor=1999, currency="EUR"),
)  # fmt: skip
SETTINGS: dict[str, Any] = {"rate_limits": True, "rate_limit_read": "9/3600s"}


@dataclass
class Way:
    """A gateway that answers in this process, and whether it had to route."""

    edge: Edge
    inventory: Inventory
    routed: list[str] = field(default_factory=list)
    routes: list[object] = field(default_factory=list)

    async def ask(
        self, path: str, *tags: str, method: str = "GET", query: str = "", more: Any = ()
    ) -> list[Any]:
        """Returns the messages of the answer."""
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        sent = [(b"host", b"here"), (b"x-request-id", b"mine"), *more]
        sent += [(b"if-none-match", tag.encode()) for tag in tags]
        scope = {
            "type": "http", "http_version": "1.1", "scheme": "http", "client": ("192.0.2.1", 9),
            "server": ("here", 80), "method": method, "root_path": "", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "headers": sent, "state": {},
        }  # fmt: skip
        await self.edge(scope, receive, send)
        self.routes.append(scope.get("path_template"))
        return told


@pytest.fixture
async def ways() -> AsyncIterator[tuple[Way, Way]]:
    """The short way and the long way; both have the mug and a list in memory."""
    settings = GatewaySettings(jwt_secret=Secret(SECRET), redis_addr="127.0.0.1:9", **SETTINGS)
    channels = Channels(Tokens(SECRET), "gateway")
    async with (
        channels.open("127.0.0.1:9") as channel,
        Limits.open(settings) as here,
        Limits.open(settings) as there,
    ):
        short = _way(settings, channels, channel, here, short=True)
        long = _way(settings, channels, channel, there, short=False)
        for way in (short, long):
            way.inventory.catalogue.know(MUG)
            await way.inventory.catalogue.lists.page(ProductListing(category="k&"))
        yield short, long


def _way(
    settings: GatewaySettings, channels: Channels, channel: Any, limits: Limits, *, short: bool
) -> Way:
    inventory = Inventory(channels, channel)
    inventory.catalogue.lists = Listings(_listed)
    inside = routed(Door(Tokens(SECRET), "EUR", limits), [inventory], [])

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        way.routed.append(scope["path"])
        await inside(scope, receive, send)

    reporter = Reporter(channels, SecurityServiceStub(channel))
    if short:
        edge = layered(noted, inventory.catalogue, limits, reporter, settings)
    else:
        edge = Edge(Watch(Limited(noted, limits), reporter), Proxies())
    way = Way(edge, inventory)
    return way


async def _listed(wanted: ProductListing) -> Listed:
    return Listed(b'{"products":[],"page":1,"limit":20,"total":0}', frozenset([MUG.id]))


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"{URL}/{MUG.id}", {}),
        (f"{URL}/{MUG.id}", {"method": "HEAD"}),
        (f"{URL}/{MUG.id}", {"more": [(b"authorization", b"Bearer nonsense")]}),
        (URL, {"query": "category=k%26"}),
        (URL, {"query": "limit=20&category=k%26"}),
        (URL, {"query": "category=k%26", "method": "HEAD"}),
    ],
)
async def test_the_short_way_says_what_the_long_way_says(
    ways: tuple[Way, Way], path: str, asked: dict[str, Any]
) -> None:
    short, long = ways
    assert await short.ask(path, **asked) == await long.ask(path, **asked)
    assert short.routes == long.routes
    assert (short.routed, long.routed) == ([], [path])


@pytest.mark.parametrize("tag", ['"7"', "*", 'W/"7"', '"6", "7"', '"6"', "nonsense", ""])
async def test_so_it_does_to_who_has_it_already(ways: tuple[Way, Way], tag: str) -> None:
    short, long = ways
    path = f"{URL}/{MUG.id}"
    said = await short.ask(path, tag)
    assert said == await long.ask(path, tag)
    assert said[0]["status"] == (304 if "7" in tag or tag == "*" else 200)
    assert not short.routed


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"{URL}/{MUG.id}", {"query": "x=1"}),
        (f"{URL}/{MUG.id}", {"method": "REPORT"}),
        (f"{URL}/{MUG.id}", {"method": "OPTIONS"}),
        (f"{URL}/nonsense", {}),
        (f"{URL}X{MUG.id}", {}),
        (f"{URL}", {"query": "limit=0"}),
        (f"{URL}", {"query": "limit=5&limit=6"}),
        (f"{URL}", {"query": "category=%ff"}),
        (f"{URL}", {"query": "nonsense=1"}),
    ],
)
async def test_whatever_else_is_asked_goes_the_long_way(
    ways: tuple[Way, Way], path: str, asked: dict[str, Any]
) -> None:
    short, long = ways
    assert await short.ask(path, **asked) == await long.ask(path, **asked)
    assert short.routed == long.routed == [path]


async def test_both_ways_share_a_quota_and_refuse_alike(ways: tuple[Way, Way]) -> None:
    short, long = ways
    path = f"{URL}/{MUG.id}"
    for _ in range(89):
        await short.ask(path)
        await long.ask(path)
    assert not short.routed
    last = [await way.ask(path, '"6"', '"7"') for way in ways]  # twice: for the long way only
    assert last[0] == last[1]
    assert short.routed == [path]
    refused = [await way.ask(path) for way in ways]
    assert refused[0] == refused[1]
    assert refused[0][0]["status"] == 429


async def test_what_is_gone_is_refused_alike(ways: tuple[Way, Way]) -> None:
    short, long = ways
    path = f"{URL}/{MUG.id}"
    for way in ways:
        way.inventory.catalogue.forget(MUG.id)
    told = await short.ask(path)
    assert told == await long.ask(path)
    assert told[0]["status"] == 404
    assert (short.routed, long.routed) == ([], [path])


async def test_a_list_that_is_not_in_memory_is_fetched_alike(ways: tuple[Way, Way]) -> None:
    short, long = ways
    for query in ("page=2", "page=3&limit=1", "sort=-price"):
        assert await short.ask(URL, query=query) == await long.ask(URL, query=query)
    assert not short.routed


async def test_what_is_gone_or_never_was_is_not_in_memory(ways: tuple[Way, Way]) -> None:
    short, _ = ways
    catalogue = short.inventory.catalogue
    assert catalogue.known(MUG.id)
    catalogue.forget(MUG.id)
    assert catalogue.known(MUG.id) is None
    assert catalogue.known(new_id()) is None

"""A gateway starts alone, hears of changes, and stops without dropping what it began."""

import asyncio
import socket
import time

import httpx2 as httpx
import nats
import pytest

from mercato.embedded.supervisor import Platform
from mercato.platform.settings import Secret, SettingsError
from tests.gateway.conftest import Shop, served
from tests.gateway.test_orders import cart
from tests.gateway.test_refusals import problem


async def test_it_starts_without_any_service_and_says_so() -> None:
    nowhere = "127.0.0.1:9"
    async with (
        served(user_service=nowhere, inventory_service=nowhere, order_service=nowhere) as here,
        httpx.AsyncClient(base_url=here.url) as client,
    ):
        assert (await client.get("/livez")).json() == {"status": "alive"}
        answer = await client.get("/readyz")
        problem(answer, 503, "not-ready")
        assert answer.json()["detail"] == "user is away, inventory is away, order is away"
        started = time.monotonic()
        answer = await client.get("/api/inventory")
        problem(answer, 503)
        assert "retry-after" in answer.headers
        assert time.monotonic() - started < 4


async def test_a_mailer_that_is_away_keeps_nobody_from_ordering(shop: Shop) -> None:
    targets = {**shop.services.targets, "mailer_service": "127.0.0.1:9"}
    async with served(**targets) as here, httpx.AsyncClient(base_url=here.url) as client:
        ready = await client.get("/readyz")
    assert ready.json()["checks"] == {
        "gateway": "ok", "user": "ok", "inventory": "ok", "order": "ok"
    }  # fmt: skip


async def test_a_taken_port_is_said_at_once() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="in use"),
    ):
        async with served(port=taken.getsockname()[1]):
            pass


async def test_a_stop_finishes_what_it_began_and_takes_nothing_new(shop: Shop) -> None:
    headers = {"authorization": f"Bearer {shop.tokens.access(shop.ids['ada'], 'customer')}"}
    async with (
        served(**shop.services.targets) as here,
        httpx.AsyncClient(base_url=here.url, headers=headers) as client,
    ):
        slow = asyncio.ensure_future(
            client.post("/api/orders", json=cart(shop), headers={"prefer": "wait=1"})
        )
        await asyncio.sleep(0.3)
        here.serving.cancel()
        await asyncio.sleep(0.05)
        notice = await client.get("/readyz")
        problem(notice, 503)
        assert notice.json()["detail"] == "gateway is stopping"
        answer = await slow
        assert (answer.status_code, answer.json()["stock"]) == (201, "AWAITING")
        await asyncio.wait([here.serving], timeout=5)
        assert here.serving.done()
        with pytest.raises(httpx.ConnectError):
            await client.get("/livez")


async def test_a_change_that_another_gateway_made_is_heard_of(
    shop: Shop, servers: Platform
) -> None:
    mug = shop.services.inventory.add(name="Mug", stock=9)
    url = servers.environment["NATS_URL"]
    async with (
        served(**shop.services.targets, nats_url=Secret(url)) as here,
        httpx.AsyncClient(base_url=here.url) as client,
    ):
        other = await nats.connect(url)
        await asyncio.sleep(0.5)  # for the subscription, of which there is no sign
        page = f"/api/inventory/{mug.id}"
        assert (await client.get(page)).json()["stock"] == 9
        mug.stock, mug.version = 8, 2
        assert (await client.get(page)).json()["stock"] == 9  # from memory
        for payload in (b"nonsense", b'{"product_id": "%s", "version": 2}' % mug.id.encode()):
            await other.publish("product.changed", payload)
        await other.flush()
        await asyncio.sleep(0.1)
        assert (await client.get(page)).json()["stock"] == 8
        await other.close()

"""Who is slow to say what they want keeps no connection open."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from prometheus_client import REGISTRY

from mercato.gateway import operation, server
from tests.gateway.conftest import Shop
from tests.gateway.test_orders import cart
from tests.gateway.test_refusals import problem

LIMIT_S = 0.3
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "BODY_S_MAX", LIMIT_S)
    monkeypatch.setattr(server, "HEAD_S_MAX", LIMIT_S)


async def test_half_a_body_is_408_and_the_end_of_the_connection(shop: Shop) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(LIMIT_S * 4)

    answer = await shop.nobody.post(
        "/api/users/register", content=drip(), headers={"content-type": "application/json"}
    )
    problem(answer, 408, "timed-out")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /livez", b"GET /livez HTTP/1.1\r\nHost: here\r\n", LIVEZ + b"G", LIVEZ + b"\r\n"],
)
async def test_half_a_request_is_the_end_of_the_connection(shop: Shop, sent: bytes) -> None:
    reader, writer = await _connected(shop)
    started = time.monotonic()
    for byte in (sent, b"", b""):
        writer.write(byte)
        await asyncio.sleep(0.02)
    if sent.startswith(LIVEZ):
        assert b"alive" in await reader.readuntil(b"}")
        writer.write(b"\r\n" if sent.endswith(b"\n") else b"ET")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert time.monotonic() - started > LIMIT_S * 0.9
    writer.close()


async def test_who_hangs_up_within_a_body_is_no_failure_of_ours(shop: Shop) -> None:
    register = {"method": "POST", "route": "/api/users/register"}

    def counted(status: int) -> float:
        named = register | {"status": str(status)}
        return REGISTRY.get_sample_value("mercato_http_requests_total", named) or 0.0

    before, failed = counted(408), counted(500)
    _, writer = await _connected(shop)
    head = "POST /api/users/register HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 9\r\n\r\n{{".encode())
    await asyncio.sleep(0.05)
    writer.close()
    async with asyncio.timeout(LIMIT_S * 0.8):
        while counted(408) == before and counted(500) == failed:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    assert counted(500) == failed


async def test_a_connection_between_two_requests_may_rest(shop: Shop) -> None:
    reader, writer = await _connected(shop)
    for _ in range(3):
        writer.write(LIVEZ)
        assert b"alive" in await reader.readuntil(b"}")
        await asyncio.sleep(LIMIT_S * 1.5)
    writer.close()


async def test_an_answer_may_take_longer_than_the_question(shop: Shop) -> None:
    answer = await shop.ada.post("/api/orders", json=cart(shop), headers={"prefer": "wait=1"})
    assert answer.status_code == 201


async def _connected(shop: Shop) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    at = urlsplit(shop.url)
    return await asyncio.open_connection(at.hostname, at.port)

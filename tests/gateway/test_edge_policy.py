"""What browsers are told, whose pages may read, and whose connection it is behind a balancer."""

import asyncio
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from mercato.gateway.settings import GatewaySettings
from mercato.platform.settings import SettingsError, load
from tests.gateway.conftest import Shop, served

OURS, THEIRS = "https://shop.example", "https://evil.example"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, idempotency-key",
}


async def test_a_browser_is_told_to_do_nothing_with_an_answer(shop: Shop) -> None:
    headers = (await shop.nobody.get("/api/nothing")).headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in headers, "said over http it means nothing"


async def test_https_is_for_ever_where_there_is_https() -> None:
    async with (
        served(public_url="https://shop.example") as here,
        httpx.AsyncClient(base_url=here.url) as http,
    ):
        said = (await http.get("/livez")).headers["strict-transport-security"]
    assert said == "max-age=31536000"


async def test_no_page_may_read_unless_its_origin_is_named(shop: Shop) -> None:
    answer = await shop.nobody.get("/api/nothing", headers={"origin": OURS})
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_pages_of_a_named_origin_may_read_and_others_may_not() -> None:
    async with (
        served(cors_origins=f"{OURS}, http://127.0.0.1:5173") as here,
        httpx.AsyncClient(base_url=here.url) as http,
    ):
        for origin in (OURS, "http://127.0.0.1:5173"):
            told = await http.options("/api/orders", headers=PREFLIGHT | {"origin": origin})
            assert told.status_code == 204
            assert told.headers["access-control-allow-origin"] == origin
            assert "POST" in told.headers["access-control-allow-methods"]
            assert "Idempotency-Key" in told.headers["access-control-allow-headers"]
            read = await http.get("/api/users/me", headers={"origin": origin})
            assert read.status_code == 401, "a preflight lets nobody in"
            assert read.headers["access-control-allow-origin"] == origin
            assert read.headers["vary"] == "Origin"
            assert "RateLimit" in read.headers["access-control-expose-headers"]
        for origin in (THEIRS, "null", f"{OURS}.evil.example", "http://shop.example", OURS.upper()):
            for answer in (
                await http.options("/api/orders", headers=PREFLIGHT | {"origin": origin}),
                await http.get("/api/users/me", headers={"origin": origin}),
            ):
                assert "access-control-allow-origin" not in answer.headers
                assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in told.headers


@pytest.mark.parametrize(
    "wrong", ["*", "shop.example", "https://shop.example/", "null", "https://*"]
)
def test_an_origin_is_exact(wrong: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        load(GatewaySettings, {"JWT_SECRET": "s" * 32, "CORS_ORIGINS": wrong})


async def asked(url: str, first_line: bytes) -> bytes:
    """Returns the answer to two sign-ins on one connection that begins with `first_line`."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    request = (
        b"POST /api/users/authenticate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        b"X-Forwarded-For: 6.6.6.6\r\n"
    )
    last = request + b"Connection: close\r\n\r\n"
    writer.write(first_line + request + b"\r\n" + last)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_a_balancer_tells_whose_connection_it_is_and_clients_cannot() -> None:
    narrow = {"rate_limits": True, "rate_limit_login": "2/3600s", "proxy_protocol": True}
    async with served(**narrow) as here:
        for address in (b"192.0.2.1", b"192.0.2.2"):
            line = b"PROXY TCP4 " + address + b" 127.0.0.1 4711 0\r\n"
            assert b"HTTP/1.1 429" not in await asked(here.url, line)
            again = await asked(here.url, line)
            assert again.count(b"HTTP/1.1 429") == 2, "an address has one bucket"
    async with served() as plain:
        assert b"HTTP/1.1 400" in await asked(plain.url, line), "nobody asked for such lines"

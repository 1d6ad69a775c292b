"""What a request may say before its body, and behind it: so much, and whom it is for."""

import asyncio
from urllib.parse import urlsplit

import pytest

from mercato.gateway import server
from mercato.gateway.server import HEAD_BYTES_MAX
from tests.gateway.conftest import Shop

GET = b"GET /livez HTTP/1.1\r\nHost: here\r\n"
LAST = GET + b"Connection: close\r\n\r\n"
LINE = b"X-Much: %s\r\n" % (b"x" * 1014)
POST = b"POST /api/users/register HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
SUM = b"Content-Length: %d\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


async def statuses(url: str, *pieces: bytes) -> list[bytes]:
    """The status of each answer that a new connection gets until it is closed."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    try:
        said = await asyncio.wait_for(reader.read(), 2)
    finally:
        writer.close()
    return [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "pieces",
    [
        (GET + LINE * 64, b""),
        (GET, *[LINE * 16] * 4),
        (GET + LINE * 64 + b"\r\n",),
        (GET + b"\r\n", GET, *[LINE * 16] * 4),
        (b"GET /" + b"x" * HEAD_BYTES_MAX,),
        (POST + CHUNKED, *[LINE * 16] * 5),
    ],
)
async def test_a_head_has_64_kib(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.05)
    assert (await statuses(shop.url, *pieces))[-1] == b"431"


async def test_who_sends_far_too_much_can_read_why(shop: Shop) -> None:
    answer = await shop.nobody.get("/livez", headers={"x-much": "x" * 5_000_000})
    assert answer.status_code == 431
    assert answer.headers["connection"] == "close"


async def test_what_is_no_head_does_not_count_as_one(shop: Shop) -> None:
    body = b" " * 200_000 + b"{}"
    sent = POST + SUM % len(body) + body
    assert await statuses(shop.url, sent, sent + GET + LINE * 60 + b"\r\n" + LAST) == [
        b"422", b"422", b"200", b"200",
    ]  # fmt: skip
    assert await statuses(shop.url, GET + LINE * 60, b"\r\n" + GET + LINE * 60 + b"\r\n", LAST) == (
        [b"200"] * 3
    )


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"HTTP/1.1\r\n", b"400"),
        (b"HTTP/1.1\r\nHost: here\r\nHost: there\r\n", b"400"),
        (b"HTTP/1.0\r\nHost: here\r\nhost: here\r\n", b"400"),
        (b"HTTP/1.0\r\n", b"200"),
        (b"HTTP/1.1\r\nHost: here\r\nConnection: close\r\n", b"200"),
    ],
)
async def test_a_request_names_one_host(shop: Shop, lines: bytes, status: bytes) -> None:
    assert await statuses(shop.url, b"GET /livez " + lines + b"\r\n") == [status]


@pytest.mark.parametrize(("method", "status"), [(b"FOO", b"400"), (b"PROPFIND", b"405")])
async def test_a_method_is_one_that_http_knows(shop: Shop, method: bytes, status: bytes) -> None:
    assert await statuses(shop.url, method + LAST[len(b"GET") :]) == [status]

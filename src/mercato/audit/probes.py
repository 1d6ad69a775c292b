"""/livez, /readyz and /metrics of a process that serves nothing else, over a minimum of HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

HEAD_S_MAX: Final = 5.0
_TEXT: Final = "text/plain; charset=utf-8"
_REASONS: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Unavailable"}

Reply = tuple[int, str, bytes]  # the status, the content's type, the content


@asynccontextmanager
async def listen(host: str, port: int, trouble: Callable[[], str]) -> AsyncIterator[int]:
    """Answers on `host:port` (0: a free one) and yields the port.

    Ready is who has no `trouble` to tell of. Raises OSError when the port is taken.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(HEAD_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, trouble()))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _response(head: bytes, trouble: str) -> bytes:
    method, _, rest = head.decode("latin-1").partition(" ")
    status, kind, content = _reply(method, rest.partition(" ")[0].partition("?")[0], trouble)
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(lines).encode() + (b"" if method == "HEAD" else content)


def _reply(method: str, path: str, trouble: str) -> Reply:
    if method not in ("GET", "HEAD"):
        return 405, _TEXT, b"only GET\n"
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, generate_latest()
    if path == "/livez" or (path == "/readyz" and not trouble):
        return 200, _TEXT, b"ok\n"
    if path == "/readyz":
        return 503, _TEXT, f"{trouble}\n".encode()
    return 404, _TEXT, b"/livez, /readyz or /metrics\n"

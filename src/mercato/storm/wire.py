"""One keep-alive connection that speaks HTTP/1.1: cheap enough for hundreds of clients beside."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mercato.embedded.ports import LOOPBACK

TIMEOUT_S: Final = 10.0
_HEAD_BYTES_MAX: Final = 64 * 1024


class NoAnswer(Exception):
    """The connection was refused or cut, or nothing came in time; what was asked may be done."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` have lower-case names; `body` is as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Wire:
    """A connection to a loopback port, opened when it is needed; one request at a time.

    By HTTPS when `tls` says whom to trust.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(
        self, method: str, path: str, *, token: str = "", key: str = "", body: object = None,
        client: str = "",
    ) -> Answer:  # fmt: skip
        """Sends a request and returns its answer; raises NoAnswer saying what happened.

        `client` is for whom a proxy would make it.
        """
        request = _request(self._port, method, path, token, key, body, client)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._exchange(request)
        except TimeoutError:
            self.close()
            raise NoAnswer("no answer in time") from None
        except ConnectionRefusedError:
            self.close()
            raise NoAnswer("connection refused") from None
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            self.close()
            raise NoAnswer("connection cut") from None
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                LOOPBACK, self._port, limit=_HEAD_BYTES_MAX, ssl=self._tls
            )
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(first.split(" ", 2)[1]), headers, body)


def _request(
    port: int, method: str, path: str, token: str, key: str, body: object, client: str
) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\n"
    head += f"Content-Length: {len(content)}\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {token}\r\n" if token else ""
    head += f"Idempotency-Key: {key}\r\n" if key else ""
    head += f"X-Forwarded-For: {client}\r\n" if client else ""
    return f"{head}\r\n".encode() + content

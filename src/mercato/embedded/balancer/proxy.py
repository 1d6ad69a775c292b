"""Carries each request to a gateway and its answer back; a lost one is asked of another.

That is done only where nothing can happen twice: nothing of an answer has come, and the request
has not left, or is one that may be repeated.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httptools

from mercato.embedded.balancer.backends import Backend, Backends
from mercato.embedded.balancer.messages import CHUNK, Request, Response
from mercato.embedded.ports import LOOPBACK
from mercato.platform.tasks import Tasks

CONNECT_S = 1.0
PATIENCE_S = 10.0  # for a request that no gateway takes
AGAIN_S = 0.1
KEEP_ALIVE_S = 75.0
IDLE_S_MAX = 30.0  # less than a gateway keeps an idle connection
AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Retry-After: 1\r\nConnection: close\r\nContent-Length: 77\r\n\r\n"
    b'{"title":"Service Unavailable","status":503,"detail":"no gateway is there"}\r\n'
)


@dataclass(slots=True)
class Link:
    """A connection to a gateway."""

    backend: Backend
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_at: float = 0.0

    @property
    def usable(self) -> bool:
        idle_s = asyncio.get_running_loop().time() - self.used_at
        return idle_s < IDLE_S_MAX and self.backend.ready and not self.reader.at_eof()


class Lost(Exception):
    """The gateway is gone, and nothing of its answer has come."""


class Proxy:
    """Serves every connection of customers'."""

    def __init__(self, backends: Backends, calls: Tasks, *, announces: bool = False) -> None:
        self._announces = announces
        self.closing = False
        self._backends = backends
        self._calls = calls

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection, one after the other."""
        link: Link | None = None
        hello = _announcement(writer) if self._announces else b""
        try:
            while not self.closing:
                request = Request()
                async with asyncio.timeout(KEEP_ALIVE_S):
                    if not await request.read(reader):
                        break
                link = await self._calls.start(self._answer(request, link, hello, reader, writer))
                if link is None:
                    break
        except (OSError, TimeoutError):
            pass  # the customer has gone, or says nothing any more
        finally:
            writer.close()
            if link is not None:
                link.writer.close()

    async def _answer(
        self,
        request: Request,
        kept: Link | None,
        hello: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Link | None:
        """Has `request` answered; returns the connection to use next, None when all is over."""
        async for link in self._patiently(kept, hello):
            if not request.whole:
                await _tunnel(request, link, reader, writer)
                return None
            lasts = False
            try:
                lasts = await _exchange(request, link, writer)
            except Lost:
                if request.repeatable:
                    continue
            finally:
                if not lasts:
                    link.writer.close()
            return link if lasts else None
        writer.write(AWAY)
        return None

    async def _patiently(self, kept: Link | None, hello: bytes) -> AsyncIterator[Link]:
        """Gives links, again and again for PATIENCE_S: a gateway may be back in a moment."""
        until = asyncio.get_running_loop().time() + PATIENCE_S
        async for link in self._links(kept, hello):
            yield link
        while not self.closing and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(AGAIN_S)
            async for link in self._links(None, hello):
                yield link

    async def _links(self, kept: Link | None, hello: bytes) -> AsyncIterator[Link]:
        """Gives `kept` where it will do, then new connections, each to another gateway."""
        if kept is not None:
            if kept.usable:
                yield kept
            else:
                kept.writer.close()
        for backend in self._backends.in_order():
            try:
                async with asyncio.timeout(CONNECT_S):
                    opened = await asyncio.open_connection(backend.host, backend.port)
            except (OSError, TimeoutError):
                continue
            opened[1].write(hello)
            yield Link(backend, *opened)


def _announcement(writer: asyncio.StreamWriter) -> bytes:
    """Returns the line of the PROXY protocol that tells a gateway whose connection this is."""
    host, port = writer.get_extra_info("peername")[:2]
    return f"PROXY TCP4 {host} {LOOPBACK} {port} 0\r\n".encode()


async def _exchange(request: Request, link: Link, writer: asyncio.StreamWriter) -> bool:
    """Carries one request there and its answer back; returns whether the connection goes on.

    Raises Lost, and OSError when the customer has gone.
    """
    response = Response(request.method)
    try:
        link.writer.write(request.raw)
        await link.writer.drain()
        chunk = await _first(link, request.repeatable)
    except OSError:
        raise Lost from None
    if not chunk:
        raise Lost
    while chunk:
        writer.write(chunk)
        await writer.drain()
        try:
            response.feed(chunk)
            if response.complete:
                link.used_at = asyncio.get_running_loop().time()
                return response.keeps_alive
            chunk = await link.reader.read(CHUNK)
        except (OSError, httptools.HttpParserError):
            return False
    return False


async def _first(link: Link, repeatable: bool) -> bytes:
    """Awaits the first bytes of an answer; nothing once a gateway is lost and another may do."""
    transport = link.writer.transport
    if repeatable:
        link.backend.waiting.add(transport)
    try:
        return await link.reader.read(CHUNK)
    finally:
        link.backend.waiting.discard(transport)


async def _tunnel(
    request: Request, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Passes on what is no plain request, until either side ends: the gateway knows what to say."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK):
                sink.write(chunk)
                await sink.drain()
            if sink.can_write_eof():
                sink.write_eof()

    link.writer.write(request.raw)
    upwards = Tasks()
    upwards.start(pump(reader, link.writer))
    try:
        await pump(link.reader, writer)
    finally:
        await upwards.drain(0)
        link.writer.close()

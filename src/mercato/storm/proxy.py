"""A TCP proxy that cuts, stalls and delays, and drops replies to what was applied."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from mercato.embedded.ports import LOOPBACK, any_free

BACKLOG: Final = 512
_RST: Final = struct.pack("ii", 1, 0)  # linger for no time at all

# Whether bytes from a server answer a request (rather than greet, ping or steer the flow).
IsReply = Callable[[bytes], bool]


def anything(data: bytes) -> bool:
    return True


def not_a_ping(data: bytes) -> bool:
    """Of NATS: what carries a message."""
    return not data.startswith((b"PING", b"PONG", b"INFO", b"+OK"))


def has_message(data: bytes) -> bool:
    """Of HTTP/2: whether a DATA or HEADERS frame begins in these bytes (RFC 9113, 4.1)."""
    at = 0
    while at + 9 <= len(data):
        if data[at + 3] in (0, 1) and any(data[at + 5 : at + 9]):
            return True
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return False


class Proxy:
    """Listens on a port of its own; `upstream` may be set later, before the first connection."""

    def __init__(self, name: str, upstream: int = 0, is_reply: IsReply = anything) -> None:
        self.name = name
        self.upstream = upstream
        self.is_reply = is_reply
        self.port = 0
        self.links: set[Link] = set()
        self.replies_dropped = 0
        self.links_cut = 0
        self._to_drop = 0
        self._stalled_until = 0.0
        self._delayed_until, self._delay_s = 0.0, 0.0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self.port = any_free()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self.link().client, LOOPBACK, self.port, backlog=BACKLOG
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        self.links_cut = 0

    def link(self) -> "Link":
        """A new connection; a proxy that knows its protocol makes another kind."""
        return Link(self)

    def cut(self) -> None:
        """Breaks every connection, at once and without a word."""
        for link in list(self.links):
            self.links_cut += 1
            link.cut()

    def stall(self, seconds: float) -> None:
        """Lets nothing through for so long; nothing is lost."""
        self._stalled_until = asyncio.get_running_loop().time() + seconds

    def delay(self, by_s: float, seconds: float) -> None:
        """Hands everything on later by `by_s`, for so long."""
        self._delayed_until = asyncio.get_running_loop().time() + seconds
        self._delay_s = by_s

    def drop_replies(self, count: int) -> None:
        """Swallows the next replies, each with its connection: the request was applied."""
        self._to_drop += count

    def calm(self) -> None:
        """Ends what is under way; bytes that are held go out when they would have."""
        self._to_drop, self._stalled_until, self._delayed_until = 0, 0.0, 0.0

    def drops(self, data: bytes) -> bool:
        """Whether this reply is to be swallowed; it is counted if so."""
        if self._to_drop and self.is_reply(data):
            self._to_drop -= 1
            self.replies_dropped += 1
            return True
        return False

    def due(self) -> float:
        """When bytes that come now may go on, in the loop's time; 0: at once."""
        if not (self._stalled_until or self._delayed_until):
            return 0.0
        now = asyncio.get_running_loop().time()
        due = now + self._delay_s if now < self._delayed_until else 0.0
        return max(due, self._stalled_until if now < self._stalled_until else 0.0)


class Link:
    """One connection through a proxy: the client's half, the server's half."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.client = Half(self)
        self.server = Half(self)
        self.client.other, self.server.other = self.server, self.client
        self.asked = False  # the server owes an answer

    def connected(self, half: "Half") -> None:
        self.proxy.links.add(self)
        if half is self.client:
            loop = asyncio.get_running_loop()
            self._dialling = loop.create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.server, LOOPBACK, self.proxy.upstream)
        except OSError:
            self.cut()

    def received(self, half: "Half", data: bytes) -> None:
        """Hands bytes on, now or later, or swallows them."""
        if half is self.client:
            self.asked = True
        elif self.asked and self.proxy.drops(data):
            self.cut()
            return
        else:
            self.asked = False
        half.other.send(data, self.proxy.due())

    def cut(self) -> None:
        self.client.abort()
        self.server.abort()
        self.proxy.links.discard(self)

    def lost(self, half: "Half") -> None:
        half.other.finish()
        self.proxy.links.discard(self)


class Half(asyncio.Protocol):
    """The socket at one end, with the bytes that are still to be sent to it, each with its time."""

    other: "Half"

    def __init__(self, link: Link) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._held: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._over:
            self._transport.abort()
            return
        self._link.connected(self)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._link.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._link.lost(self)

    def pause_writing(self) -> None:
        if self.other._transport is not None and not self.other._over:
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other._transport is not None and not self.other._over:
            self.other._transport.resume_reading()

    def send(self, data: bytes, due: float) -> None:
        """Sends when it is `due`, never before what was given earlier."""
        if self._over:
            return
        if self._transport is not None and not self._held and not due:
            self._transport.write(data)
            return
        self._held.append((due, data))
        if self._transport is not None and self._timer is None:
            self._flush()

    def finish(self) -> None:
        """Closes once all that is held has been sent."""
        self._finishing = True
        if not self._held:
            self._close()

    def abort(self) -> None:
        over, self._over = self._over, True
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None and not over:
            with suppress(OSError):  # a reset: the other end loses also what it has not read yet
                held: socket.socket = self._transport.get_extra_info("socket")
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            self._transport.abort()

    def _flush(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._held and not self._over and self._transport is not None:
            due, data = self._held[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self._flush)
                return
            self._held.popleft()
            self._transport.write(data)
        if self._finishing:
            self._close()

    def _close(self) -> None:
        if self._transport is not None and not self._over:
            self._transport.close()
        self._over = True

"""HTTP on a socket of our own, within a loop of our own, and a stop that finishes what it began."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mercato.gateway.tls import Certificate, context_of
from mercato.platform.settings import SettingsError
from mercato.platform.tasks import Tasks, finish

BACKLOG: Final = 2048
HEAD_BYTES_MAX: Final = 64 * 1024  # of a request's first line with all its headers
HEAD_S_MAX = 10.0  # for a request to say what it wants, from its first byte on
KEEP_ALIVE_S: Final = 75
LINGER_S = 1.0  # for who is still sending to read why we listen no longer
STOP_GRACE_S: Final = 8


_ANNOUNCEMENT: Final = re.compile(
    rb"PROXY TCP[46] ([0-9a-fA-F:.]{2,45}) [0-9a-fA-F:.]{2,45} ([0-9]{1,5}) [0-9]{1,5}\r\n"
)
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 41\r\n\r\n"
    b"The request's head is larger than 64 KiB."
)


class _Server(uvicorn.Server):
    """uvicorn, but signals are for `platform.run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but a connection that is slow to say what it wants, or wordy, is closed.

    Where a balancer before us speaks the PROXY protocol (version 1), its first line tells whose
    connection it is; only a balancer on this machine is believed.
    """

    announced = False
    _late: asyncio.TimerHandle | None = None
    _began = False
    _said = False  # what the request wants, by the bytes that have just come
    _deaf = False  # to all that may still come, for the refusal is out
    _head_bytes = 0  # of what is no body: of a head, and of what follows the last chunk

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request
        begins = self._late is None and (cycle is None or cycle.response_complete)
        self._said = False
        if self.announced and not self._began:
            self._began = True
            data = self._introduced(data)
        if data:
            self._head_bytes += len(data)
            super().data_received(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self._deaf:
                self._refuse_size()
        if begins and not self._said:  # most heads come in one piece, and need no timer
            self._expect()

    def on_headers_complete(self) -> None:
        self._said = True
        self._relax()
        if self._head_bytes > HEAD_BYTES_MAX:  # together with what came behind it
            self._head_bytes = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
        hosts = [name for name, _ in self.headers].count(b"host")
        astray = hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1")
        if astray or self._head_bytes > HEAD_BYTES_MAX:
            raise ValueError("no request")  # which ends in send_400_response
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_size()
        else:
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def _introduced(self, data: bytes) -> bytes:
        """Takes over the client's address; returns what follows it."""
        match = _ANNOUNCEMENT.match(data)
        if match is None or not (self.client and ip_address(self.client[0]).is_loopback):
            return data
        self.client = (match[1].decode(), int(match[2]))
        return data[match.end() :]

    def _refuse_size(self) -> None:
        """Hangs up a little later: at once, what is unread would make the system reset it."""
        self._deaf = self._said = True
        self.transport.write(_TOO_LARGE)
        self._relax()
        self._late = self.loop.call_later(LINGER_S, self.transport.close)

    def _expect(self) -> None:
        self._late = self.loop.call_later(HEAD_S_MAX, self.transport.close)

    def _relax(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Announced(_Protocol):
    announced = True


def bound(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to `host:port` (0: a free one).

    Raises SettingsError when nobody can listen there, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as problem:
        raise SettingsError(f"HOST, PORT: cannot listen on {host} port {port}: {problem}") from None


async def serve(
    app: Any,
    listening: socket.socket,
    stopping: Callable[[], None],
    notice_s: float,
    certificate: Certificate | None = None,
    *,
    announced: bool = False,
) -> None:
    """Serves `app` until cancelled; then calls `stopping` and ends once every answer is out.

    With a `certificate` it speaks HTTPS only; `announced` as told at _Protocol.

    It goes on listening for `notice_s`, so that balancers see what `stopping` says; whoever has a
    connection is asked to close it.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http=_Announced if announced else _Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
            timeout_graceful_shutdown=STOP_GRACE_S,
            **context_of(certificate),
        )
    )
    tasks = Tasks()
    serving = tasks.start(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    finally:
        await finish(_stop(server, tasks, stopping, notice_s))


async def _stop(
    server: _Server, tasks: Tasks, stopping: Callable[[], None], notice_s: float
) -> None:
    stopping()
    for headers in (server.config.encoded_headers, server.server_state.default_headers):
        headers.append((b"connection", b"close"))
    await asyncio.sleep(notice_s)
    server.should_exit = True
    await tasks.drain(STOP_GRACE_S + 1)

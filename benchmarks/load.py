"""Puts load on a port: in a closed loop, or at a rate that does not care how the port is doing."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from benchmarks.figures import Histogram
from benchmarks.jobs import FINE, Job, Outcome, Requests, requests
from mercato.embedded.ports import LOOPBACK

TICK_S = 0.001
LAST_ANSWERS_S = 20.0

Answered = Callable[["Connection", int, bytes], None]


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way; `answered` hears the end.

    Callbacks instead of coroutines: load that costs less leaves more of the machine to what is
    measured. A connection that is lost answers with status 0.
    """

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._waits = False
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def send(self, request: bytes, since: float) -> None:
        """Sends `request`, whose latency counts from `since`."""
        self.since, self._waits = since, True
        if self._transport is None or self._transport.is_closing():
            self._end(0, b"the connection is closed")
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        _, found, rest = head.partition(b"content-length:")
        size = int(rest.partition(b"\r\n")[0]) if found else 0
        if len(self._buffer) < end + 4 + size:
            return
        body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
        self._end(int(head[9:12]), body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waits:
            self._end(0, repr(exc).encode())

    def close(self) -> None:
        self._waits = False
        if self._transport is not None:
            self._transport.abort()

    def _end(self, status: int, body: bytes) -> None:
        self._waits = False
        self._answered(self, status, body)


class Load:
    """One job under way."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._next: Requests = requests(job)
        self._taken = Histogram()
        self._outcome = Outcome()
        self._until = self._last = 0.0
        self._under_way = self._unsent = 0
        self._idle: list[Connection] = []
        self._due: deque[float] = deque()
        self._quiet = asyncio.Event()

    async def run(self) -> Outcome:
        authority, count = self._job.authority, self._job.connections
        tls = ssl.create_default_context(cafile=authority) if authority else None
        lines = [await self._connected(tls) for _ in range(count)]
        began = self._last = time.perf_counter()
        self._until = began + self._job.seconds
        try:
            if self._job.rate:
                await self._open_loop(lines, began)
            else:
                for line in lines:
                    self._go(line, time.perf_counter())
            async with asyncio.timeout(self._job.seconds + LAST_ANSWERS_S):
                await self._quiet.wait()
        except TimeoutError:
            self._note(0, b"no answer in time")
        finally:
            for line in lines:
                line.close()
        self._outcome.counts = self._taken.counts
        self._outcome.elapsed_s = self._last - began
        return self._outcome

    async def _connected(self, tls: ssl.SSLContext | None) -> Connection:
        job, loop = self._job, asyncio.get_running_loop()
        line = Connection(self._opened if job.rate else self._closed)
        await loop.create_connection(lambda: line, LOOPBACK, job.port, ssl=tls)
        return line

    def _go(self, line: Connection, since: float) -> None:
        self._under_way += 1
        line.send(self._next(), since)

    def _closed(self, line: Connection, status: int, body: bytes) -> None:
        now = self._settle(line, status, body)
        if now < self._until and status:
            self._go(line, now)
        elif not self._under_way:
            self._quiet.set()

    async def _open_loop(self, lines: list[Connection], began: float) -> None:
        """Sends at fixed moments. A request that finds no free connection waits, and its wait
        counts: that is what coordinated omission would leave out.
        """
        self._idle, self._unsent = lines.copy(), int(self._job.rate * self._job.seconds)
        moments = (began + n / self._job.rate for n in range(self._unsent))
        for due in moments:
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(max(early, TICK_S))
            self._unsent -= 1
            self._due.append(due)
            self._feed()

    def _opened(self, line: Connection, status: int, body: bytes) -> None:
        self._settle(line, status, body)
        if status:
            self._idle.append(line)
        self._feed()
        if not (self._unsent or self._due or self._under_way):
            self._quiet.set()

    def _feed(self) -> None:
        while self._due and self._idle:
            self._go(self._idle.pop(), self._due.popleft())

    def _settle(self, line: Connection, status: int, body: bytes) -> float:
        self._last = now = time.perf_counter()
        self._under_way -= 1
        if status in FINE:
            self._taken.add(now - line.since)
        else:
            self._note(status, body)
        return now

    def _note(self, status: int, body: bytes) -> None:
        name = str(status) if status else "cut"
        self._outcome.trouble[name] = self._outcome.trouble.get(name, 0) + 1
        self._outcome.example = self._outcome.example or body[:200].decode("latin-1")

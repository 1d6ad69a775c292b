"""A mail server for tests: keeps what it gets, and fails at any stage when it is told to."""

import asyncio
import json
import re
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP

LOOPBACK = "127.0.0.1"
CUT = "cut"


class Sink:
    """`faults["RCPT"]` are the next answers to RCPT: a line to say, or CUT.

    Stages: EHLO, MAIL, RCPT, DATA, and after the final dot BEFORE (storing) and AFTER (it).
    """

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.connections = 0
        self.faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.port = 0
        self.options: dict[str, Any] = {}
        self._server: asyncio.Server | None = None
        self._sessions: set[_Session] = set()

    @property
    def messages(self) -> list[EmailMessage]:
        return [message_from_bytes(content, policy=default) for content in self.contents]

    @property
    def ids(self) -> list[str]:
        found = (re.search(rb"(?m)^Message-ID: <(.+)>", content) for content in self.contents)
        return [each[1].decode() for each in found if each]

    async def start(self) -> None:
        """Listens, on the port of before if there was one."""
        loop = asyncio.get_running_loop()
        options = {"hostname": "sink.test", "loop": loop} | self.options
        context = cast("ssl.SSLContext | None", options.pop("ssl", None))
        self._server = await loop.create_server(
            lambda: cast(asyncio.Protocol, _Session(self, options)),
            LOOPBACK,
            self.port,
            ssl=context,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for session in self._sessions:
                session.cut()
            await self._server.wait_closed()
            self._server = None

    def fault(self, stage: str) -> str:
        return self.faults[stage].popleft() if self.faults[stage] else ""

    def came(self, session: "_Session") -> None:
        self.connections += 1
        self._sessions.add(session)

    def went(self, session: "_Session") -> None:
        self._sessions.discard(session)


class _Storing:
    """Beside the sink, because aiosmtpd evaluates every property of its handler."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        for stage in ("BEFORE", "AFTER"):
            if stage == "AFTER":
                self._sink.contents.append(envelope.original_content)
                self._sink.recipients.append(envelope.rcpt_tos)
            fault = self._sink.fault(stage)
            if fault == CUT:
                server.cut()
                await asyncio.sleep(60)  # the session is cancelled here
            elif fault:
                return fault
        return "250 kept"


class _Session(SMTP):
    def __init__(self, sink: Sink, options: dict[str, Any]) -> None:
        self._sink = sink
        super().__init__(_Storing(sink), **options)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._sink.came(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.went(self)
        super().connection_lost(error)

    def cut(self) -> None:
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()

    async def smtp_EHLO(self, argument: str) -> None:
        await self._unless("EHLO", super().smtp_EHLO, argument)

    async def smtp_MAIL(self, argument: str) -> None:
        await self._unless("MAIL", super().smtp_MAIL, argument)

    async def smtp_RCPT(self, argument: str) -> None:
        await self._unless("RCPT", super().smtp_RCPT, argument)

    async def smtp_DATA(self, argument: str) -> None:
        await self._unless("DATA", super().smtp_DATA, argument)

    async def _unless(
        self, stage: str, go_on: Callable[[str], Awaitable[None]], argument: str
    ) -> None:
        fault = self._sink.fault(stage)
        if fault == CUT:
            self.cut()
        elif fault:
            await self.push(fault)
        else:
            await go_on(argument)


@asynccontextmanager
async def mailbox_api(sink: Sink) -> AsyncIterator[str]:
    """Answers Mailpit's search by Message-ID from what `sink` has; yields the address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        query = parse_qs(urlsplit(request.split()[1]).query)["query"][0]
        wanted = query.removeprefix("message-id:").strip('"')
        found = [{"MessageID": known} for known in sink.ids if known == wanted]
        body = json.dumps({"messages": found}).encode()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"

"""A mail server that cuts connections at every stage, and the mailbox behind it."""

import asyncio
import re
from types import SimpleNamespace
from typing import Any, Final

from aiosmtplib import SMTPResponseException, SMTPServerDisconnected

from tests.simulation.chance import Trouble
from tests.simulation.loop import Process, VirtualLoop

WAY_S: Final = 0.002
LATE_S: Final = 0.8  # how much later than its dot a mail may be seen
_ID: Final = re.compile(rb"Message-ID: <([^>]+)>")


class MailServer:
    """Counts what has arrived, by Message-ID."""

    def __init__(self, loop: VirtualLoop, trouble: Trouble) -> None:
        self.loop = loop
        self.trouble = trouble
        self.away_until = 0.0
        self.arrived: dict[str, int] = {}

    @property
    def away(self) -> bool:
        return self.away_until > self.loop.time()

    def arrive(self, message_id: str) -> None:
        self.arrived[message_id] = self.arrived.get(message_id, 0) + 1
        self.trouble.note("mail server", "has", message_id)


class Connection:
    """What `Post` uses of aiosmtplib.SMTP."""

    def __init__(self, server: MailServer, process: Process) -> None:
        self._server = server
        self._process = process
        self._answer: int | None = None
        self.is_connected = False
        self.transport = None

    @property
    def protocol(self) -> "Connection | None":
        return self if self.is_connected else None

    async def connect(self) -> None:
        self._process.check()
        await asyncio.sleep(self._server.trouble.pause_s(WAY_S))
        self._cut_maybe()
        self.is_connected = True

    async def noop(self) -> None:
        await self._said()

    async def rset(self) -> None:
        await self._said()

    async def mail(self, _: str) -> None:
        await self._said()

    async def rcpt(self, _: str) -> None:
        await self._said()

    async def execute_command(self, _: bytes) -> Any:
        await self._said()
        return SimpleNamespace(code=354, message="go ahead")

    async def quit(self, timeout: float) -> None:
        self.close()

    def close(self) -> None:
        self.is_connected = False

    def write(self, content: bytes) -> None:
        """The letter and its final dot; what becomes of it is the server's affair from here."""
        self._process.check()
        server, trouble = self._server, self._server.trouble
        if not self.is_connected:
            raise SMTPServerDisconnected("not connected")
        found = _ID.search(content)
        assert found is not None
        message_id = found[1].decode()
        self._answer = 250
        if server.away or trouble.happens("mail_cut"):
            self._answer = None
            if server.away or trouble.chance.random() < 0.5:
                return
        elif trouble.happens("mail_refused"):
            self._answer = 451
            return
        late_s = trouble.chance.random() * (WAY_S if self._answer else LATE_S)
        server.loop.outside(late_s, server.arrive, message_id)

    async def read_response(self, timeout: float) -> Any:
        await asyncio.sleep(self._server.trouble.pause_s(WAY_S) + WAY_S)
        self._process.check()
        if self._answer is None:
            self.close()
            raise SMTPServerDisconnected("connection lost")
        return SimpleNamespace(code=self._answer, message="")

    async def _said(self) -> None:
        self._process.check()
        await asyncio.sleep(self._server.trouble.pause_s(WAY_S))
        self._cut_maybe()
        if self._server.trouble.happens("mail_refused"):
            raise SMTPResponseException(451, "try again later")

    def _cut_maybe(self) -> None:
        if self._server.away or self._server.trouble.happens("mail_cut"):
            self.close()
            raise SMTPServerDisconnected("connection lost")


class Mailbox:
    """What `mercato.mailer.mailbox.Mailbox` is to the resolver."""

    def __init__(self, server: MailServer, process: Process) -> None:
        self._server = server
        self._process = process

    async def has(self, message_id: str) -> bool:
        self._process.check()
        there = message_id in self._server.arrived
        await asyncio.sleep(self._server.trouble.pause_s(WAY_S))  # an answer may be old
        if self._server.trouble.happens("mail_cut"):
            raise OSError("the mailbox is away")
        return there

"""A mail server that cuts connections at every stage, and the mailbox behind it."""

import asyncio
import re
from typing import Any, Final

from mercato.mailer.dialogue import Reply
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


async def dial(server: MailServer, process: Process, _: Any) -> "Line":
    process.check()
    await asyncio.sleep(server.trouble.pause_s(WAY_S))
    line = Line(server, process)
    line.cut_maybe()
    return line


class Line:
    """What `Post` uses of `mercato.mailer.dialogue.Line`."""

    def __init__(self, server: MailServer, process: Process) -> None:
        self._server = server
        self._process = process
        self.pipelines = server.trouble.chance.random() < 0.5
        self.closed = False

    async def ask(self, octets: bytes, count: int = 1, timeout_s: float = 0.0) -> list[Reply]:
        self._process.check()
        if self.closed:
            raise ConnectionResetError("not connected")
        if octets.endswith(b"\r\n.\r\n"):
            answered = self._post(octets)
            await asyncio.sleep(self._server.trouble.pause_s(WAY_S) + WAY_S)
            self._process.check()
            if answered is None:
                self.close()
                raise ConnectionResetError("connection lost")
            return [Reply(answered, "")]
        await asyncio.sleep(self._server.trouble.pause_s(WAY_S))
        self._process.check()
        self.cut_maybe()
        replies: list[Reply] = []
        for command in octets.split(b"\r\n")[:-1]:
            refused = bool(replies) and replies[-1].code >= 400
            if not refused and self._server.trouble.happens("mail_refused"):
                replies.append(Reply(451, "try again later"))
            else:
                replies.append(Reply(503 if refused else 354 if command == b"DATA" else 250, ""))
        return replies

    def close(self) -> None:
        self.closed = True

    def _post(self, octets: bytes) -> int | None:
        """The letter and its final dot; what becomes of it is the server's affair from here."""
        server, trouble = self._server, self._server.trouble
        found = _ID.search(octets)
        assert found is not None
        answer: int | None = 250
        if server.away or trouble.happens("mail_cut"):
            answer = None
            if server.away or trouble.chance.random() < 0.5:
                return None
        elif trouble.happens("mail_refused"):
            return 451
        late_s = trouble.chance.random() * (WAY_S if answer else LATE_S)
        server.loop.outside(late_s, server.arrive, found[1].decode())
        return answer

    def cut_maybe(self) -> None:
        if self._server.away or self._server.trouble.happens("mail_cut"):
            self.close()
            raise ConnectionResetError("connection lost")


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

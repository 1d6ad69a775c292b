"""The SMTP side (RFC 5321): a message is answered 250 only when it is on the disk.

A small protocol of our own, because a mail should cost the machine less than the order that it
tells of. Commands that come together are answered together (PIPELINING, RFC 2920), and messages
that come while others are being written go to the disk together.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

from mercato.embedded.mailbox.store import Message, Store
from mercato.platform.fold import Fold
from mercato.platform.tasks import Tasks

MESSAGE_BYTES_MAX: Final = 10 * 1024 * 1024
COMMAND_BYTES_MAX: Final = 2_048  # RFC 5321 asks for 512, and for more with extensions
LINE_BYTES_MAX: Final = 1_000  # of a message, with its end (4.5.3.1.6)
RECIPIENTS_MAX: Final = 1_000
AHEAD_BYTES_MAX: Final = 256 * 1024  # what a client may send ahead of us, or leave unread
IDLE_TIMEOUT_S: Final = 300.0

NAME: Final = "mailbox.localhost"
_EXTENSIONS: Final = ("PIPELINING", f"SIZE {MESSAGE_BYTES_MAX}", "8BITMIME")
_HELLO: Final = "\r\n".join((*(f"250-{each}" for each in (NAME, *_EXTENSIONS)), "250 SMTPUTF8"))
_END: Final = b"\r\n.\r\n"
_SENDER: Final = re.compile(r"FROM:\s*<([^<>]*)>(.*)", re.I)
_RECIPIENT: Final = re.compile(r"TO:\s*<([^<>]+)>", re.I)
_PARAMETER: Final = re.compile(r"SIZE=(\d{1,20})|BODY=(?:7BIT|8BITMIME)|SMTPUTF8", re.I)

Keep = Callable[[Message], Awaitable[str]]


async def listen(store: Store, host: str, port: int) -> asyncio.Server:
    """Accepts mail for anyone, without TLS or login: for loopback only."""

    async def add_all(messages: list[Message]) -> Sequence[str | Exception]:
        return await asyncio.to_thread(store.add_all, messages)

    keep = Fold(add_all)
    return await asyncio.get_running_loop().create_server(lambda: Session(keep), host, port)


class Session(asyncio.Protocol):
    """One client, answered in the order of its commands."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._replies: list[str] = []
        self._tasks = Tasks()
        self._keeping = self._paused = False  # all else waits for a message on its way to the disk
        self._greeted = self._overlong = self._in_text = self._too_big = self._over = False
        self._sought = 0  # up to here the buffer is known to have no end of the text
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._verbs: dict[str, Callable[[str], str]] = {
            "EHLO": self._ehlo, "HELO": self._helo, "MAIL": self._mail, "RCPT": self._rcpt,
            "DATA": self._data, "RSET": self._rset, "QUIT": self._quit,
            "NOOP": lambda _: "250 2.0.0 OK", "VRFY": lambda _: "252 2.0.0 send it and see",
        }  # fmt: skip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._heard_at = self._loop.time()
        self._watch = self._loop.call_later(IDLE_TIMEOUT_S, self._end_if_idle)
        self._say(f"220 {NAME} ESMTP Mercato mailbox")

    def connection_lost(self, error: Exception | None) -> None:
        self._watch.cancel()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self._buffer += data
        if not self._keeping:
            self._go_on()
        elif len(self._buffer) > AHEAD_BYTES_MAX and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Does what the buffer holds, up to a message that has to be kept first."""
        while not (self._keeping or self._over):
            if not (self._read_text() if self._in_text else self._do_command()):
                break
        if self._replies:
            self._say(*self._replies)
            self._replies.clear()

    def _say(self, *replies: str) -> None:
        self._transport.write("\r\n".join((*replies, "")).encode())
        if self._over:
            self._transport.close()
        elif self._transport.get_write_buffer_size() > AHEAD_BYTES_MAX:  # nobody reads them
            self._transport.abort()

    def _end_if_idle(self) -> None:
        left_s = self._heard_at + IDLE_TIMEOUT_S - self._loop.time()
        self._over = left_s <= 0
        if self._over:
            self._say(f"421 4.4.2 {NAME} has waited long enough")
        else:
            self._watch = self._loop.call_later(left_s, self._end_if_idle)

    def _do_command(self) -> bool:
        """Answers the next command; returns whether there was one."""
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > COMMAND_BYTES_MAX:
                self._overlong = True
                self._buffer.clear()
            return False
        line, overlong = self._buffer[:end], self._overlong or end > COMMAND_BYTES_MAX
        del self._buffer[: end + 1]
        self._overlong = False
        self._replies.append("500 5.5.2 the line is too long" if overlong else self._answer(line))
        return True

    def _answer(self, line: bytearray) -> str:
        try:
            verb, _, argument = line.decode().strip().partition(" ")
        except UnicodeDecodeError:
            return "500 5.5.2 the line is not UTF-8"
        answer = self._verbs.get(verb.upper())
        return answer(argument.strip()) if answer else "500 5.5.1 there is no such command"

    def _helo(self, name: str) -> str:
        if not name:
            return "501 5.5.4 say who you are"
        self._rset("")
        self._greeted = True
        return f"250 {NAME}"

    def _ehlo(self, name: str) -> str:
        answer = self._helo(name)
        return _HELLO if name else answer

    def _mail(self, argument: str) -> str:
        found = _SENDER.fullmatch(argument)
        if not self._greeted or self._sender is not None:
            return "503 5.5.1 not now: one EHLO first, and one MAIL at a time"
        if not found:
            return "501 5.5.4 MAIL FROM:<address>"
        parameters = [_PARAMETER.fullmatch(each) for each in found[2].split()]
        if not all(parameters):
            return "555 5.5.4 there is no such parameter"
        if any(int(each[1] or 0) > MESSAGE_BYTES_MAX for each in parameters if each):
            return "552 5.3.4 the message is too big"
        self._sender = found[1]
        return "250 2.1.0 OK"

    def _rcpt(self, argument: str) -> str:
        found = _RECIPIENT.fullmatch(argument)
        if self._sender is None:
            return "503 5.5.1 MAIL first"
        if not found:
            return "501 5.5.4 RCPT TO:<address>"
        if len(self._recipients) >= RECIPIENTS_MAX:
            return "452 4.5.3 too many recipients"
        self._recipients.append(found[1])
        return "250 2.1.5 OK"

    def _data(self, _: str) -> str:
        if not self._recipients:
            return "503 5.5.1 RCPT first"
        self._in_text, self._sought = True, 0
        self._buffer[:0] = b"\r\n"  # the end of DATA's line may begin the end of the text
        return "354 go on; a dot alone ends it"

    def _rset(self, _: str) -> str:
        self._sender, self._recipients = None, []
        self._in_text = self._too_big = False
        return "250 2.0.0 OK"

    def _quit(self, _: str) -> str:
        self._over = True
        return f"221 2.0.0 {NAME} closes"

    def _read_text(self) -> bool:
        """Has the message kept, or refuses it; returns whether its end is there."""
        end = self._buffer.find(_END, self._sought)
        if end < 0:
            if len(self._buffer) > MESSAGE_BYTES_MAX + len(_END):
                self._too_big = True
                del self._buffer[: 1 - len(_END)]
            self._sought = max(0, len(self._buffer) - len(_END) + 1)
            return False
        text = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(_END)]
        message = Message(text.replace(b"\r\n.", b"\r\n")[2:], self._sender or "", self._recipients)
        if self._too_big or len(message.content) > MESSAGE_BYTES_MAX:
            self._replies.append("552 5.3.4 the message is too big")
        elif max(map(len, text.split(b"\n"))) >= LINE_BYTES_MAX:
            self._replies.append("500 5.5.2 a line of the message is too long")
        else:
            self._keeping = True
            self._tasks.start(self._kept(message))
        self._rset("")
        return True

    async def _kept(self, message: Message) -> None:
        try:
            answer = f"250 2.0.0 kept as {await self._keep(message)}"
        except Exception as failure:  # noqa: BLE001 - the client is told, and tries again
            why = getattr(failure, "strerror", None) or type(failure).__name__
            answer = f"451 4.3.0 the message could not be kept: {why}"
        self._replies.append(answer)
        self._keeping = False
        self._go_on()
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

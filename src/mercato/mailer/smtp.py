"""One connection to the mail server: a letter out, and exactly what became of it.

The line that matters is the final dot. Before it nothing was sent, whatever happens; after it
only the server's answer tells. So DATA is spoken here step by step, with room between the
server's go-ahead and the dot for writing down that the dot goes out.
"""

import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiosmtplib import SMTP, SMTPServerDisconnected

from mercato.kernel.clock import monotonic
from mercato.mailer.composing import Letter
from mercato.mailer.dialogue import TIMEOUT_S, Line, Reply
from mercato.mailer.model import Outcome, State
from mercato.mailer.settings import PORTS, Tls

DOT_TIMEOUT_S: Final = 60.0  # for the answer to the final dot
REASON_CHARACTERS_MAX: Final = 500
IDLE_S_MAX: Final = 30.0  # a connection that has rested for longer is made anew

_OK: Final = 250
_WILL_FORWARD: Final = 251
_GO_AHEAD: Final = 354
_CLOSING: Final = 421
# 5xx that speak of the session or the login and not of the mail: ours to mend, the mail waits
_OURS: Final = {502, 503, 530, 534, 535, 538}
_WORD: Final = re.compile(r"[!-;=?-~]+")  # an address that is one, whatever the server makes of it


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail goes out; `port` 0 is the usual one of `tls`."""

    host: str
    port: int = 0
    username: str = ""
    password: str = ""
    tls: Tls = "none"


async def dial(server: MailServer) -> Line:
    """Connects, encrypts, greets and logs in; raises SMTPException or OSError."""
    smtp = SMTP(
        hostname=server.host,
        port=server.port or PORTS[server.tls],
        username=server.username or None,
        password=server.password if server.username else None,
        use_tls=server.tls == "tls",
        start_tls=server.tls == "starttls",
        local_hostname=_own_name(),
        timeout=TIMEOUT_S,
    )
    await smtp.connect()
    await smtp.noop()  # greets; a server that refuses us refuses no mail by it
    if smtp.transport is None:
        raise SMTPServerDisconnected("connection lost")
    return Line(smtp.transport, pipelines=smtp.supports_extension("pipelining"))


class Post:
    """A connection that is opened when it is needed and kept while there is work."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._dial = dial
        self._line: Line | None = None
        self._used_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether it can be used as it is."""
        fresh = monotonic() - self._used_at <= IDLE_S_MAX
        return self._line is not None and not self._line.closed and fresh

    async def connect(self) -> None:
        """Connects and logs in, if that is not so; raises SMTPException or OSError."""
        if not self.ready:
            self.close()
            self._line = await self._dial(self._server)
        self._used_at = monotonic()

    async def deliver(self, letter: Letter, may_go: Callable[[], Awaitable[bool]]) -> Outcome:
        """Sends `letter`; the final dot goes out only after `may_go`.

        SENT: the server has it. NEW: it was certainly not sent, another attempt may succeed.
        FAILED: the server refuses it for good. PARKED: nobody knows.
        """
        if not (_WORD.fullmatch(letter.sender) and _WORD.fullmatch(letter.recipient)):
            return Outcome(State.FAILED, "an address is none")
        line = self._line
        if line is None:
            return Outcome(State.NEW, "not connected")
        try:
            refusal = await self._begin(line, letter)
        except OSError as failure:
            self.close()
            return Outcome(State.NEW, _trouble(failure))
        if refusal:
            return _refused(refusal)
        return await self._finish(line, letter.content, may_go)

    async def _begin(self, line: Line, letter: Letter) -> Reply | None:
        """Says whom it is from and for; None is the go-ahead for the letter itself.

        All at once where the server takes that (RFC 2920): one way there and back for three.
        """
        commands = (f"MAIL FROM:<{letter.sender}>", f"RCPT TO:<{letter.recipient}>", "DATA")
        wanted: tuple[tuple[int, ...], ...] = ((_OK,), (_OK, _WILL_FORWARD), (_GO_AHEAD,))
        together = len(commands) if line.pipelines else 1
        for first in range(0, len(commands), together):
            group = slice(first, first + together)
            octets = "\r\n".join((*commands[group], "")).encode("ascii")
            replies = await line.ask(octets, together)
            for reply, codes in zip(replies, wanted[group], strict=True):
                if reply.code not in codes:
                    await self._start_over(line, replies[-1])
                    return reply
        return None

    async def _finish(
        self, line: Line, content: bytes, may_go: Callable[[], Awaitable[bool]]
    ) -> Outcome:
        if not await may_go() or line.closed:
            self.close()
            return Outcome(State.NEW, "the lease or the connection was lost before the final dot")
        try:
            (answer,) = await line.ask(_ended(content), timeout_s=DOT_TIMEOUT_S)
        except OSError as failure:
            self.close()
            return Outcome(State.PARKED, _trouble(failure))
        self._used_at = monotonic()
        if answer.code == _CLOSING:
            self.close()
        if 200 <= answer.code < 300:
            return Outcome(State.SENT)
        return _refused(answer)

    def close(self) -> None:
        """Ends the connection at once: what has not gone out yet never does."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def quit(self) -> None:
        """Ends the connection politely."""
        with suppress(OSError):
            if self._line is not None:
                await self._line.ask(b"QUIT\r\n", timeout_s=1)
        self.close()

    async def _start_over(self, line: Line, last: Reply) -> None:
        """Makes the session ready for another mail; one that waits for a letter is given up."""
        try:
            if last.code != _GO_AHEAD:
                await line.ask(b"RSET\r\n")
                return
        except OSError:
            pass
        self.close()


def _ended(content: bytes) -> bytes:
    """Returns `content` as DATA wants it: leading dots doubled, a dot alone at the end."""
    end = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    return re.sub(rb"(?m)^\.", b"..", content) + end


def _refused(reply: Reply) -> Outcome:
    lasting = 500 <= reply.code < 600 and reply.code not in _OURS
    state = State.FAILED if lasting else State.NEW
    return Outcome(state, _told(f"{reply.code} {reply.text}"))


def _trouble(failure: Exception) -> str:
    return _told(f"{type(failure).__name__}: {failure}")


def _told(reason: str) -> str:
    """Returns `reason` short, and as text that can be kept: servers answer in any bytes."""
    return reason[:REASON_CHARACTERS_MAX].encode(errors="replace").decode()


def _own_name() -> str:
    """The name to greet with; never asked of a name service."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,255}", name) else "localhost"

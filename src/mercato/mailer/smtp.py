"""One connection to the mail server: a letter out, and exactly what became of it.

The line that matters is the final dot. Before it nothing was sent, whatever happens; after it
only the server's answer tells. So DATA is spoken here step by step, with room between the
server's go-ahead and the dot for writing down that the dot goes out.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from aiosmtplib import SMTP, SMTPDataError, SMTPException, SMTPResponseException

from mercato.kernel.clock import monotonic
from mercato.mailer.composing import Letter
from mercato.mailer.model import Outcome, State
from mercato.mailer.settings import PORTS, Tls

TIMEOUT_S: Final = 20.0  # for one command
DOT_TIMEOUT_S: Final = 60.0  # for the answer to the final dot
REASON_CHARACTERS_MAX: Final = 500
IDLE_S_MAX: Final = 30.0  # a connection that has rested for longer is made anew

_GO_AHEAD: Final = 354
_CLOSING: Final = 421
# 5xx that speak of the session or the login and not of the mail: ours to mend, the mail waits
_OURS: Final = {502, 503, 530, 534, 535, 538}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail goes out; `port` 0 is the usual one of `tls`."""

    host: str
    port: int = 0
    username: str = ""
    password: str = ""
    tls: Tls = "none"


class Post:
    """A connection that is opened when it is needed and kept while there is work."""

    def __init__(self, server: MailServer) -> None:
        self._smtp = SMTP(
            hostname=server.host,
            port=server.port or PORTS[server.tls],
            username=server.username or None,
            password=server.password if server.username else None,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            local_hostname=_own_name(),
            timeout=TIMEOUT_S,
        )
        self._used_at = 0.0

    async def connect(self) -> None:
        """Connects and logs in, if that is not so; raises SMTPException or OSError."""
        if self._smtp.is_connected and monotonic() - self._used_at > IDLE_S_MAX:
            self.close()
        if not self._smtp.is_connected:
            await self._smtp.connect()
            await self._smtp.noop()  # greets; a server that refuses us refuses no mail by it
        self._used_at = monotonic()

    async def deliver(self, letter: Letter, may_go: Callable[[], Awaitable[bool]]) -> Outcome:
        """Sends `letter`; the final dot goes out only after `may_go`.

        SENT: the server has it. NEW: it was certainly not sent, another attempt may succeed.
        FAILED: the server refuses it for good. PARKED: nobody knows.
        """
        try:
            await self._smtp.mail(letter.sender)
            await self._smtp.rcpt(letter.recipient)
            answer = await self._smtp.execute_command(b"DATA")
            if answer.code != _GO_AHEAD:
                raise SMTPDataError(answer.code, answer.message)
        except SMTPResponseException as refusal:
            await self._start_over(refusal.code)
            return _refused(refusal.code, refusal.message)
        except (SMTPException, OSError) as failure:
            self.close()
            return Outcome(State.NEW, _trouble(failure))
        return await self._finish(letter.content, may_go)

    async def _finish(self, content: bytes, may_go: Callable[[], Awaitable[bool]]) -> Outcome:
        protocol = self._smtp.protocol
        if not await may_go() or protocol is None:
            self.close()
            return Outcome(State.NEW, "the lease or the connection was lost before the final dot")
        try:
            protocol.write(_ended(content))
        except SMTPException as failure:
            self.close()
            return Outcome(State.NEW, _trouble(failure))
        try:
            answer = await protocol.read_response(timeout=DOT_TIMEOUT_S)
        except (SMTPException, OSError) as failure:
            self.close()
            return Outcome(State.PARKED, _trouble(failure))
        self._used_at = monotonic()
        if answer.code == _CLOSING:
            self.close()
        if 200 <= answer.code < 300:
            return Outcome(State.SENT)
        return _refused(answer.code, answer.message)

    def close(self) -> None:
        """Ends the connection at once: what has not gone out yet never does."""
        if self._smtp.transport is not None:
            cast(asyncio.WriteTransport, self._smtp.transport).abort()
        self._smtp.close()

    async def quit(self) -> None:
        """Ends the connection politely."""
        with suppress(SMTPException, OSError):
            if self._smtp.is_connected:
                await self._smtp.quit(timeout=1)
        self.close()

    async def _start_over(self, code: int) -> None:
        """Makes the session ready for another mail; one that answers gibberish is given up."""
        try:
            if code > 0:
                await self._smtp.rset()
                return
        except (SMTPException, OSError):
            pass
        self.close()


def _ended(content: bytes) -> bytes:
    """Returns `content` as DATA wants it: leading dots doubled, a dot alone at the end."""
    end = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    return re.sub(rb"(?m)^\.", b"..", content) + end


def _refused(code: int, message: str) -> Outcome:
    lasting = 500 <= code < 600 and code not in _OURS
    return Outcome(State.FAILED if lasting else State.NEW, _told(f"{code} {message}"))


def _trouble(failure: Exception) -> str:
    return _told(f"{type(failure).__name__}: {failure}")


def _told(reason: str) -> str:
    """Returns `reason` short, and as text that can be kept: servers answer in any bytes."""
    return reason[:REASON_CHARACTERS_MAX].encode(errors="replace").decode()


def _own_name() -> str:
    """The name to greet with; never asked of a name service."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,255}", name) else "localhost"

"""The line to a mail server, once it has been greeted: commands out, and their answers in order.

aiosmtplib connects, encrypts, greets and logs in; from there on each mail is a few exchanges, and
its coroutines, locks and timers for each command would cost more than all else about a mail.
"""

import asyncio
from typing import Final, NamedTuple, cast

TIMEOUT_S: Final = 20.0  # for the answers to what goes out together
ANSWER_BYTES_MAX: Final = 32_768


class Reply(NamedTuple):
    """One answer; of several lines the text has several too."""

    code: int
    text: str


class Line(asyncio.Protocol):
    """Takes over the connection of `transport`; `pipelines`: commands may go out together."""

    def __init__(self, transport: asyncio.BaseTransport, *, pipelines: bool = False) -> None:
        self.pipelines = pipelines
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._unread = b""
        self._text: list[str] = []  # of an answer that goes on
        self._replies: list[Reply] = []
        self._wanted = 0
        self._answered: asyncio.Future[list[Reply]] | None = None
        self._lost = False
        self._transport.set_protocol(self)

    @property
    def closed(self) -> bool:
        return self._lost or self._transport.is_closing()

    async def ask(self, octets: bytes, count: int = 1, timeout_s: float = TIMEOUT_S) -> list[Reply]:
        """Writes, and returns the next `count` answers.

        Raises OSError when they do not come, or come in no shape; the line is closed then.
        """
        if self.closed:
            raise ConnectionResetError("the connection is closed")
        self._wanted, self._replies = count, []
        answered: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._answered = answered
        late = TimeoutError(f"no answer within {timeout_s:.0f} s")
        timer = self._loop.call_later(timeout_s, self._fail, late)
        self._transport.write(octets)
        try:
            return await answered
        finally:
            timer.cancel()
            self._answered = None

    def close(self) -> None:
        """Ends the connection at once: what has not gone out yet never does."""
        self._lost = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            if not line[:3].isdigit():
                self._fail(OSError(f"not an answer: {line[:100].decode(errors='replace')}"))
                return
            self._text.append(line[4:].strip().decode(errors="replace"))
            if line[3:4] != b"-":
                self._replies.append(Reply(int(line[:3]), "\n".join(self._text)))
                self._text = []
        if len(self._unread) + sum(map(len, self._text)) > ANSWER_BYTES_MAX:
            self._fail(OSError("an answer without an end"))
        elif len(self._replies) >= self._wanted:
            self._settle()

    def _settle(self) -> None:
        """Hands over the answers; one that nobody has asked for makes all later ones doubtful."""
        unasked = self._answered is None or len(self._replies) > self._wanted
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(self._replies[: self._wanted])
        if unasked:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionResetError("the connection was lost"))

    def _fail(self, failure: OSError) -> None:
        self.close()
        if self._answered is not None and not self._answered.done():
            said = f" after {self._replies[-1].code}" if self._replies else ""
            self._answered.set_exception(type(failure)(f"{failure}{said}"))

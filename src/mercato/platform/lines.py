"""Lines of the log on their way out: what one turn of the event loop tells goes in one write."""

import asyncio
import atexit
import threading
import time
from functools import lru_cache
from typing import Final, TextIO

import msgspec

SECOND_NS: Final = 1_000_000_000


class AccessLine(msgspec.Struct, frozen=True):
    """A request that was answered; the fields stand in this order in every line."""

    method: str
    route: str
    status: int
    ms: float
    user_id: str | None
    event: str
    service: str
    request_id: str
    trace_id: str
    level: str
    timestamp: str


class Lines:
    """Writes lines to `file`, in the order in which they were told.

    `soon` holds a line back until this turn of the event loop is over, at most; any other line
    takes it along, and the end of the process does. A process that is killed loses that turn's.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._waiting: list[AccessLine] = []
        atexit.register(self.flush)

    def msg(self, line: str) -> None:
        """Writes `line` at once."""
        self._write(f"{line}\n")

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg  # as structlog calls them

    def soon(self, line: AccessLine) -> None:
        """Writes `line` when the event loop has done what it is about; only in a running loop."""
        with self._lock:
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self.flush)
            self._waiting.append(line)

    def flush(self) -> None:
        """Writes what waits."""
        if self._waiting:
            self._write("")

    def _write(self, last: str) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._file.write((_ENCODER.encode_lines(waiting).decode() if waiting else "") + last)
            self._file.flush()


_ENCODER: Final = msgspec.json.Encoder()


def timestamp() -> str:
    """Returns the time of day as `2026-11-22T12:00:00.123456Z`."""
    seconds, ns = divmod(time.time_ns(), SECOND_NS)
    return f"{_second(seconds)}.{ns // 1000:06d}Z"


@lru_cache(maxsize=2)  # asked for thousands of times a second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))

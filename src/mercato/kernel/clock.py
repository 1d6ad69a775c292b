"""Times: UTC, to the millisecond (what MongoDB keeps), written as RFC 3339."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol


class Source(Protocol):
    """Where time comes from: the system, or the clock of a simulation."""

    def time(self) -> float:
        """Returns seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Returns seconds since some moment; never goes back."""
        ...


_source: Source = time


def now() -> datetime:
    at = datetime.fromtimestamp(_source.time(), UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def monotonic() -> float:
    """Returns seconds that only ever grow: for pauses and time limits."""
    return _source.monotonic()


def seconds() -> int:
    """Returns whole seconds since 1970."""
    return int(_source.time())


@contextmanager
def driven_by(source: Source) -> Iterator[None]:
    """Takes the time from `source` meanwhile, everywhere."""
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before


def rfc3339(at: datetime) -> str:
    """Returns `at` (aware) as `2026-11-22T12:00:00.123Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

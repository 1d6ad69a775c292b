"""Quotas, and what GCRA says of them.

GCRA keeps one number a bucket: how long it would take to drain. Each unit adds `unit_us`, time
takes away, and there is room for `burst` units (ITU-T I.371; https://brandur.org/rate-limiting).
From any moment on at most `burst + microseconds / unit_us` units get through.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta

_WRITTEN: Final = (
    r"^([1-9][0-9]{0,6})/([1-9][0-9]{0,5})s(?: burst ([1-9][0-9]{0,6}))?$"  # 10/60s burst 20
)
MICRO: Final = 1_000_000


@dataclass(frozen=True)
class Quota:
    """`count` in `period_s` seconds on average, and `burst` at once."""

    count: int
    period_s: int
    burst: int

    @classmethod
    def of(cls, text: str) -> "Quota":
        """Reads `10/60s burst 20` or `10/60s`, whose burst is 10; raises ValueError."""
        match = re.match(_WRITTEN, text)
        if match is None:
            raise ValueError(f"{text!r} is not of the form 10/60s or 10/60s burst 20")
        return cls(int(match[1]), int(match[2]), int(match[3] or match[1]))

    def __mul__(self, factor: int) -> "Quota":
        return Quota(self.count * factor, self.period_s, self.burst * factor)

    @cached_property
    def unit_us(self) -> int:
        """How long a unit stays in the bucket, in microseconds."""
        return max(1, round(self.period_s * MICRO / self.count))

    @cached_property
    def burst_us(self) -> int:
        """How much a full bucket has to drain, in microseconds."""
        return self.burst * self.unit_us

    def verdict(self, backlog_us: int, cost: int = 0) -> "Verdict":
        """Returns what a bucket that drains in `backlog_us` says to `cost` more units."""
        unit_us = self.unit_us
        room_us = self.burst_us - backlog_us
        wait_us = max(0, cost * unit_us - room_us)
        remaining = max(0, room_us // unit_us)
        return Verdict(self, not wait_us, remaining, backlog_us / MICRO, wait_us / MICRO)


Written: TypeAlias = Annotated[str, Meta(pattern=_WRITTEN)]  # a Quota among settings


class Bucket(NamedTuple):
    """What is counted together: `key` names it everywhere."""

    key: str
    quota: Quota


class Verdict(NamedTuple):
    """`remaining` units are left, all are back in `reset_s`; refused, come back in `retry_s`."""

    quota: Quota
    admitted: bool
    remaining: int
    reset_s: float
    retry_s: float

"""The report of a storm: its figures for programs, and a page for people."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from mercato.storm.book import Book
from mercato.storm.faults import Happened
from mercato.storm.observer import Waiting
from mercato.storm.verdict import Claim, Times

PERCENTS: Final = (50, 90, 99)


class Options(msgspec.Struct, frozen=True):
    """What was asked for."""

    orders: int
    faults_s: float
    clients: int
    seed: int
    groups: list[str]
    settle_s: float
    secure: bool = False


class Second(msgspec.Struct, frozen=True):
    """One second of the storm: answers 201 and their latency, and what waited at its end."""

    acknowledged: int
    latency_ms: float | None  # the median
    slowest_ms: float | None
    undecided: int | None  # None: the database was away
    mails: int | None


class Report(msgspec.Struct, frozen=True):
    """All of it; `passed` is the verdict."""

    passed: bool
    began_at: str
    options: Options
    claims: list[Claim]
    times: Times
    acknowledged: int
    acknowledged_during_faults: int
    orders_a_second: float  # acknowledged, while clients drove
    accept_ms: dict[str, float]  # from the first try to the acknowledgement, by percentile
    request_ms: dict[str, float]  # of the request that was answered
    states: dict[str, int]
    mails: int
    mails_parked: int
    told_again: int  # facts and mails, beyond once each
    statuses: dict[str, int]
    unanswered_tries: dict[str, int]
    faults: dict[str, int]
    restarts: int
    happened: list[Happened]
    seconds: list[Second]


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Returns p50, p90, p99 and the greatest, in milliseconds (nearest rank)."""
    ranked = sorted(seconds) or [0.0]
    found = {
        f"p{p}": ranked[min(len(ranked) - 1, (len(ranked) * p) // 100)] * 1000 for p in PERCENTS
    }
    return {name: round(ms, 1) for name, ms in (found | {"max": ranked[-1] * 1000}).items()}


def count_faults(happened: Sequence[Happened]) -> dict[str, int]:
    """Returns how often each fault took hold, as `kill order` or `cut RCPT`."""
    return dict(sorted(Counter(f"{each.kind} {each.target}" for each in happened).items()))


def timeline(book: Book, waiting: Sequence[Waiting], until_s: float) -> list[Second]:
    """Returns the storm second by second."""
    count = int(until_s) + 1
    latencies: list[list[float]] = [[] for _ in range(count)]
    for at_s, took_s in book.answers:
        latencies[min(int(at_s), count - 1)].append(took_s)
    left: list[Waiting | None] = [None] * count
    for each in waiting:
        left[min(int(each.at_s), count - 1)] = each
    acknowledged = Counter(int(order.acknowledged_s) for order in book.acknowledged())
    return [
        Second(
            acknowledged[second],
            round(sorted(took)[len(took) // 2] * 1000, 1) if took else None,
            round(max(took) * 1000, 1) if took else None,
            was.orders if was else None,
            was.mails if was else None,
        )
        for second, (took, was) in enumerate(zip(latencies, left, strict=True))
    ]

"""The arithmetic of measuring: latencies as a histogram, medians, and how shoppers choose."""

import math
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Final

PERCENTS: Final = (50.0, 90.0, 99.0, 99.9)
ZIPF_EXPONENT: Final = 1.0
_STEP: Final = math.log(1.02)  # buckets are 2 % wide, and so is the error of a percentile
_SMALLEST_S: Final = 1e-6


class Histogram:
    """Counts durations in buckets that grow by 2 %; those of many clients are added up."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, seconds: float) -> None:
        bucket = int(math.log(max(seconds, _SMALLEST_S) / _SMALLEST_S) / _STEP)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, other: "Histogram") -> None:
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def percentile_s(self, percent: float) -> float:
        """Returns the upper edge of the percentile's bucket (nearest rank); 0 of nothing."""
        rank, seen = math.ceil(self.total * percent / 100), 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return _SMALLEST_S * math.exp((bucket + 1) * _STEP)
        return 0.0

    def percentiles_ms(self) -> dict[str, float]:
        return {f"p{p:g}": round(self.percentile_s(p) * 1e3, 2) for p in PERCENTS}


class Choice:
    """Draws positions 0 to `count - 1`: `uniform`, `zipf`, or `one`, which is always the first.

    By Zipf's law the n-th is asked for 1/n as often as the first.
    """

    def __init__(self, kind: str, count: int, random: Random) -> None:
        if kind not in ("uniform", "zipf", "one"):
            raise ValueError(f"{kind!r} is no way to choose")
        self._random = random
        self._count = 1 if kind == "one" else count
        weights = (n**-ZIPF_EXPONENT for n in range(1, count + 1)) if kind == "zipf" else ()
        self._sums = list(accumulate(weights))

    def __call__(self) -> int:
        if not self._sums:
            return int(self._random.random() * self._count)
        drawn = bisect(self._sums, self._random.random() * self._sums[-1])
        return min(drawn, self._count - 1)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Returns by how much y grows with x, by least squares; 0 of what has one x only."""
    count = len(points) or 1
    x_mean, y_mean = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    width = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / width if width else 0.0


def median(values: Iterable[float]) -> float:
    """Returns the middle value, of an even number the mean of the middle two; 0 of none."""
    ranked = sorted(values)
    half = len(ranked) // 2
    if not ranked:
        return 0.0
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2


def medians(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the median of each name's values; one that is missing somewhere counts as 0."""
    names = dict.fromkeys(name for each in several for name in each)
    return {name: round(median(each.get(name, 0.0) for each in several), 2) for name in names}

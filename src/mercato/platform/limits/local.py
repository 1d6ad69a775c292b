"""Buckets in this process's memory: what needs no Redis, and what does without it."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from mercato.kernel.clock import monotonic
from mercato.platform.limits.quota import MICRO, Bucket, Verdict

BUCKETS_MAX: Final = 50_000


class Local:
    """At most `buckets_max` buckets; those used longest ago are forgotten first."""

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets_max = buckets_max
        self._empty_us: OrderedDict[str, int] = OrderedDict()

    def spend(
        self, buckets: Sequence[Bucket], cost: int = 1, *, take: bool = True
    ) -> list[Verdict]:
        """Takes `cost` units from each bucket, or from none where one of them has no room."""
        now_us = _now_us()
        found = []
        for key, quota in buckets:
            before_us = max(0, self._empty_us.get(key, 0) - now_us)
            after_us = before_us + cost * quota.unit_us
            if not take or after_us > quota.burst_us:
                return [self._asked(each, now_us, cost) for each in buckets]
            found.append((key, quota, max(0, after_us)))
        for key, _, after_us in found:
            self._put(key, now_us + after_us)
        return [quota.verdict(after_us) for _, quota, after_us in found]

    def note(self, bucket: Bucket, backlog_us: int) -> None:
        """Takes over what is known of a bucket from elsewhere."""
        self._put(bucket.key, _now_us() + backlog_us)

    def _asked(self, bucket: Bucket, now_us: int, cost: int) -> Verdict:
        backlog_us = max(0, self._empty_us.get(bucket.key, 0) - now_us)
        return bucket.quota.verdict(backlog_us, cost)

    def _put(self, key: str, empty_us: int) -> None:
        self._empty_us[key] = empty_us
        self._empty_us.move_to_end(key)
        if len(self._empty_us) > self._buckets_max:
            self._empty_us.popitem(last=False)


def _now_us() -> int:
    return int(monotonic() * MICRO)

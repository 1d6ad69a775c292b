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
        backlogs = [max(0, self._empty_us.get(each.key, 0) - now_us) for each in buckets]
        found = [
            each.quota.verdict(backlog_us, cost)
            for each, backlog_us in zip(buckets, backlogs, strict=True)
        ]
        if not (take and all(each.admitted for each in found)):
            return found
        for position, each in enumerate(buckets):
            backlog_us = max(0, backlogs[position] + cost * each.quota.unit_us)
            self._put(each.key, now_us + backlog_us)
            found[position] = each.quota.verdict(backlog_us)
        return found

    def note(self, bucket: Bucket, backlog_us: int) -> None:
        """Takes over what is known of a bucket from elsewhere."""
        self._put(bucket.key, _now_us() + backlog_us)

    def _put(self, key: str, empty_us: int) -> None:
        self._empty_us[key] = empty_us
        self._empty_us.move_to_end(key)
        if len(self._empty_us) > self._buckets_max:
            self._empty_us.popitem(last=False)


def _now_us() -> int:
    return int(monotonic() * MICRO)

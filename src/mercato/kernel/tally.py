"""Counting what is alike, in bounded memory: a flood of one thing is one thing and a number."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Tally(Generic[T]):
    """Of alike things the first and their number, for at most `size_max` different ones.

    What comes when it is full is counted under a coarser key, of which there must be few.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._counts: dict[Hashable, int] = {}
        self._firsts: dict[Hashable, T] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(
        self,
        key: Hashable,
        first: Callable[[], T],
        *,
        coarse_key: Hashable,
        coarse: Callable[[T], T],
    ) -> None:
        """Counts one more of `key`, or where there is no room for it, of `coarse_key`.

        `first` makes the thing; it is called for the first of its kind only. `coarse` takes from
        it what those that share a `coarse_key` have not in common.
        """
        if key in self._counts:
            self._counts[key] += 1
        elif len(self._counts) < self._size_max:
            self._counts[key], self._firsts[key] = 1, first()
        elif coarse_key in self._counts:
            self._counts[coarse_key] += 1
        else:
            self._counts[coarse_key], self._firsts[coarse_key] = 1, coarse(first())

    def take(self) -> list[tuple[T, int]]:
        """Returns each first with its number, and begins anew."""
        firsts, counts = self._firsts, self._counts
        self._firsts, self._counts = {}, {}
        return [(firsts[key], count) for key, count in counts.items()]

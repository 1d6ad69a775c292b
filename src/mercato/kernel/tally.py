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

    def add(self, first: T, key: Hashable, *, coarse: Callable[[], tuple[T, Hashable]]) -> None:
        """Counts one more of `key`; when there is no room, one of the key that `coarse` gives."""
        if key not in self._counts and len(self._counts) >= self._size_max:
            first, key = coarse()
        self._firsts.setdefault(key, first)
        self._counts[key] = self._counts.get(key, 0) + 1

    def take(self) -> list[tuple[T, int]]:
        """Returns each first with its number, and begins anew."""
        firsts, counts = self._firsts, self._counts
        self._firsts, self._counts = {}, {}
        return [(firsts[key], count) for key, count in counts.items()]

"""A bounded memory of this process for values that may be a moment old."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from mercato.kernel.clock import monotonic

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """Keeps at most `size_max` values, each for `ttl_s` seconds; the oldest leave first."""

    def __init__(self, *, size_max: int, ttl_s: float) -> None:
        self._size_max = size_max
        self._ttl_s = ttl_s
        self._values: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        found = self._values.get(key)
        if found is None:
            return None
        until, value = found
        if until < monotonic():
            del self._values[key]
            return None
        return value

    def put(self, key: Key, value: Value, ttl_s: float | None = None) -> None:
        self._values.pop(key, None)
        self._values[key] = (monotonic() + (ttl_s or self._ttl_s), value)
        if len(self._values) > self._size_max:
            self._values.popitem(last=False)

    def forget(self, key: Key) -> None:
        self._values.pop(key, None)

    def clear(self) -> None:
        self._values.clear()

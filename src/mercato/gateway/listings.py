"""Pages of the product list as they go out, in this process's memory for a second."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mercato.gateway.product_shapes import ProductListing
from mercato.gateway.reply import Reply
from mercato.kernel.clock import monotonic
from mercato.kernel.errors import Unavailable
from mercato.platform.fold import Fold
from mercato.platform.memory import Memory

LISTS_MAX: Final = 500
LIST_BYTES_MAX: Final = 64 * 1024  # of one that is remembered
TTL_S: Final = 1.0
AT_ONCE_MAX: Final = 16
RUNS_MAX: Final = 4
# No list that was asked for longer ago is under way or remembered.
MOVES_KEPT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list, and the ids of the products on it."""

    body: bytes
    shown: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Known:
    reply: Reply
    shown: frozenset[str]
    asked_at: float


class Listings:
    """Many who want one page are one call; a change that is told here ends what it touches.

    A caller's page is never one that was asked for before the caller came, unless nothing on it
    has changed since, as far as this gateway was told, and it is no older than a second.
    """

    def __init__(self, fetch: Callable[[ProductListing], Awaitable[Listed]]) -> None:
        self._fetch_one = fetch
        self._known: Memory[ProductListing, _Known] = Memory(size_max=LISTS_MAX, ttl_s=TTL_S)
        self._fetch: Fold[ProductListing, Reply] = Fold(
            self._fetched, size_max=AT_ONCE_MAX, runs_max=RUNS_MAX, waiting_max=4_000
        )
        self._changed_at = self._moved_at = float("-inf")
        self._moves: dict[str, float] = {}  # products whose stock has moved, the last at the end

    async def page(self, wanted: ProductListing) -> Reply:
        """Returns a page as an answer; raises what asking for it raises."""
        return self.known(wanted) or await self._fetch(wanted)

    def known(self, wanted: ProductListing) -> Reply | None:
        """Returns what is remembered, while it may be shown."""
        known = self._known.get(wanted)
        return known.reply if known and self._holds(wanted, known) else None

    def changed(self) -> None:
        """Some product is new, gone or another: any list may be another too."""
        self._changed_at = monotonic()

    def moved(self, product_ids: Iterable[str]) -> None:
        """Stock of these products has moved: lists that show them are of yesterday."""
        now = self._moved_at = monotonic()
        for product_id in product_ids:
            self._moves.pop(product_id, None)
            self._moves[product_id] = now
        while self._moves and self._moves[oldest := next(iter(self._moves))] < now - MOVES_KEPT_S:
            del self._moves[oldest]

    def _holds(self, wanted: ProductListing, known: _Known) -> bool:
        asked_at = known.asked_at
        if asked_at <= self._changed_at or monotonic() - asked_at > TTL_S:
            return False
        if wanted.sort in ("stock", "-stock"):  # whatever moved may belong on it by now
            return asked_at > self._moved_at
        if self._moves.keys().isdisjoint(known.shown):
            return True
        return all(self._moves.get(each, 0.0) < asked_at for each in known.shown)

    async def _fetched(self, wanted: list[ProductListing]) -> Sequence[Reply | Exception]:
        asked_at, different = monotonic(), list(dict.fromkeys(wanted))
        calls = (self._fetch_one(each) for each in different)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        found: dict[ProductListing, Reply | Exception] = {}
        for each, answer in zip(different, answers, strict=True):
            if isinstance(answer, Listed):
                found[each] = self._remembered(each, answer, asked_at)
            else:
                cut_off = Unavailable("the call was cut off; try again")
                found[each] = answer if isinstance(answer, Exception) else cut_off
        return [found[each] for each in wanted]

    def _remembered(self, wanted: ProductListing, listed: Listed, asked_at: float) -> Reply:
        reply = Reply(listed.body, cache_control="no-cache")
        if len(listed.body) <= LIST_BYTES_MAX:
            self._known.put(wanted, _Known(reply, listed.shown, asked_at))
        return reply

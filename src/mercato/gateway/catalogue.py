"""Product pages from the nearest place: this process's memory for a second, then the service."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from mercato.gateway.listings import Listed, Listings
from mercato.gateway.product_shapes import ProductListing
from mercato.gateway.reply import Reply, encode
from mercato.kernel.errors import NotFound
from mercato.pb import inventory_pb2, inventory_pb2_grpc
from mercato.platform.fold import Fold
from mercato.platform.memory import Memory
from mercato.platform.rpc import Channels

PAGES_MAX: Final = 10_000
TTL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Page:
    """A product as it goes out."""

    version: float
    etag: str
    body: bytes
    whole: Reply

    @classmethod
    def of(cls, version: int, product: msgspec.Struct) -> "Page":
        etag, body = f'"{version}"', encode(product)
        return cls(version, etag, body, Reply(body, etag=etag, cache_control="no-cache"))

    def answer(self, tags: str = "") -> Reply:
        """Returns the answer to who asks for it and has what If-None-Match names."""
        if tags and _matches(tags, self.etag):
            return Reply(b"", 304, etag=self.etag, cache_control="no-cache")
        return self.whole


GONE: Final = Page(float("inf"), "", b"", Reply(b""))


class _Changed(msgspec.Struct):
    product_id: str
    version: int


class _Item(msgspec.Struct):
    product_id: str


class _Moved(msgspec.Struct):
    items: list[_Item] = []


class Catalogue:
    """Reads products, many in one call; what this gateway wrote it never shows older again."""

    def __init__(
        self,
        channels: Channels,
        inventory: inventory_pb2_grpc.InventoryServiceStub,
        page: Callable[[inventory_pb2.Product], Page],
        listed: Callable[[ProductListing], Awaitable[Listed]],
    ) -> None:
        self._channels = channels
        self._inventory = inventory
        self._page = page
        self.lists = Listings(listed)
        self._pages: Memory[str, Page] = Memory(size_max=PAGES_MAX, ttl_s=TTL_S)
        self._fetch: Fold[str, Page] = Fold(self._fetched, size_max=128, runs_max=2)

    async def page(self, product_id: str) -> Page:
        """Returns the product's page; raises NotFound."""
        page = self._pages.get(product_id) or await self._fetch(product_id)
        if page is GONE:
            raise NotFound("there is no such product")
        return page

    def known(self, product_id: str) -> Page | None:
        """Returns the product's page if it is in memory, and the product is not gone."""
        page = self._pages.get(product_id)
        return None if page is GONE else page

    def wrote(self, product: inventory_pb2.Product) -> Page:
        """Takes what this gateway has just had written; returns its page."""
        self.lists.changed()
        return self.know(product)

    def know(self, product: inventory_pb2.Product) -> Page:
        """Remembers the product, unless a newer one is known; returns its page."""
        page = self._page(product)
        known = self._pages.get(product.id)
        if known is None or known.version <= page.version:
            self._pages.put(product.id, page)
        return page

    def forget(self, product_id: str) -> None:
        """Remembers that the product is gone."""
        self.lists.changed()
        self._pages.put(product_id, GONE)

    def changed(self, payload: bytes) -> None:
        """Takes the fact `product.changed`."""
        try:
            fact = msgspec.json.decode(payload, type=_Changed)
        except msgspec.DecodeError:
            return  # another program's; what we hold is a second old at most
        self.lists.changed()
        known = self._pages.get(fact.product_id)
        if known is not None and known.version < fact.version:
            self._pages.forget(fact.product_id)

    def moved(self, payload: bytes) -> None:
        """Takes the facts `stock.*`: whoever has just bought sees the stock fallen."""
        try:
            fact = msgspec.json.decode(payload, type=_Moved)
        except msgspec.DecodeError:
            return
        ids = [item.product_id for item in fact.items]
        self.lists.moved(ids)
        for product_id in ids:
            self._pages.forget(product_id)

    async def _fetched(self, ids: list[str]) -> Sequence[Page | Exception]:
        request = inventory_pb2.BatchGetProductsRequest(ids=sorted(set(ids)))
        answer = await self._channels.call(self._inventory.BatchGetProducts, request)
        found = {product.id: self.know(product) for product in answer.products}
        return [found.get(product_id, GONE) for product_id in ids]


def _matches(tags: str, etag: str) -> bool:
    """Tells whether an If-None-Match names `etag`, by the weak comparison (RFC 9110 13.1.2)."""
    named = (tag.strip().removeprefix("W/") for tag in tags.split(","))
    return any(tag in ("*", etag) for tag in named)

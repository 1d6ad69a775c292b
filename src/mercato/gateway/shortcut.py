"""The way past routing for what is asked most: products and lists, most of them in memory.

It answers what the operations of the catalogue would answer, byte for byte, and within the same
limits; whatever is not plain goes the long way.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Send

from mercato.gateway.catalogue import Catalogue
from mercato.gateway.decoding import Decoder, asked
from mercato.gateway.limits import Limits
from mercato.gateway.problems import refused
from mercato.gateway.product_shapes import ProductListing
from mercato.gateway.reply import Reply
from mercato.kernel.errors import AppError, Violation
from mercato.kernel.identity import is_id

LIST: Final = "/api/inventory"
PRODUCT: Final = "/api/inventory/{id}"
QUERIES_MAX: Final = 4096
QUERY_BYTES_MAX: Final = 256

Answer = Reply | Callable[[], Awaitable[Reply]]

_BEFORE_ID: Final = f"{LIST}/"


class Shortcut:
    """Wraps `app`, and answers in its place what is plainly asked of `catalogue`."""

    def __init__(self, app: ASGIApp, catalogue: Catalogue, limits: Limits) -> None:
        self._app = app
        self._catalogue = catalogue
        self._limits = limits
        self._listing = lru_cache(maxsize=QUERIES_MAX)(_listing)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(LIST) and scope["method"] == "GET":
            if path == LIST:
                wanted = self._listing(scope["query_string"][: QUERY_BYTES_MAX + 1])
                answer = self._list(wanted) if wanted is not None else None
            else:
                answer = self._product(scope, path)
            if answer is not None and (left := self._limits.read(scope)) is not None:
                scope["path_template"] = LIST if path == LIST else PRODUCT
                try:
                    reply = answer if isinstance(answer, Reply) else await answer()
                except AppError as refusal:
                    reply = refused(scope, refusal)
                return await reply.go(send, left)
        await self._app(scope, receive, send)

    def _product(self, scope: Any, path: str) -> Answer | None:
        product_id = path[len(_BEFORE_ID) :]
        if scope["query_string"] or not (path.startswith(_BEFORE_ID) and is_id(product_id)):
            return None
        tags = [value for name, value in scope["headers"] if name == b"if-none-match"]
        if len(tags) > 1:
            return None
        named = tags[0].decode("latin-1") if tags else ""
        page = self._catalogue.known(product_id)
        return partial(self._fetched, product_id, named) if page is None else page.answer(named)

    async def _fetched(self, product_id: str, tags: str) -> Reply:
        return (await self._catalogue.page(product_id)).answer(tags)

    def _list(self, wanted: ProductListing) -> Answer:
        return self._catalogue.lists.known(wanted) or partial(self._catalogue.lists.page, wanted)


def _listing(query: bytes) -> ProductListing | None:
    """Returns what a query asks for; None when the long way has something to say of it."""
    if len(query) > QUERY_BYTES_MAX:
        return None
    bad: list[Violation] = []
    decoder = Decoder("")  # there is no amount in it
    wanted = decoder.read(asked(query, ProductListing, bad), ProductListing, "/query", bad)
    return None if bad else wanted

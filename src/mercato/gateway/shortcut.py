"""The way past routing for what is asked most: products and lists that are in memory.

It answers what the operations of the catalogue would answer, byte for byte, and within the same
limits; whatever it does not know for certain goes the long way.
"""

from functools import lru_cache
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Send

from mercato.gateway.catalogue import Catalogue
from mercato.gateway.decoding import Decoder, asked
from mercato.gateway.limits import Limits
from mercato.gateway.product_shapes import ProductListing
from mercato.gateway.reply import Reply
from mercato.kernel.errors import Violation

LIST: Final = "/api/inventory"
PRODUCT: Final = "/api/inventory/{id}"
QUERIES_MAX: Final = 4096
QUERY_BYTES_MAX: Final = 256

_BEFORE_ID: Final = f"{LIST}/"


class Shortcut:
    """Wraps `app`, and answers in its place what `catalogue` has in memory."""

    def __init__(self, app: ASGIApp, catalogue: Catalogue, limits: Limits) -> None:
        self._app = app
        self._catalogue = catalogue
        self._limits = limits
        self._listing = lru_cache(maxsize=QUERIES_MAX)(_listing)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(LIST) and scope["method"] == "GET":
            route, reply = self._known(scope, path)
            if reply is not None and (left := self._limits.read(scope)) is not None:
                scope["path_template"] = route
                return await reply.go(send, left)
        await self._app(scope, receive, send)

    def _known(self, scope: Any, path: str) -> tuple[str, Reply | None]:
        if path == LIST:
            return LIST, self._list(scope["query_string"])
        if path.startswith(_BEFORE_ID):
            return PRODUCT, self._product(scope, path[len(_BEFORE_ID) :])
        return "", None

    def _product(self, scope: Any, product_id: str) -> Reply | None:
        page = None if scope["query_string"] else self._catalogue.known(product_id)
        if page is None:
            return None
        tags = [value for name, value in scope["headers"] if name == b"if-none-match"]
        if len(tags) > 1:
            return None
        return page.answer(tags[0].decode("latin-1") if tags else "")

    def _list(self, query: bytes) -> Reply | None:
        wanted = self._listing(query) if len(query) <= QUERY_BYTES_MAX else None
        return None if wanted is None else self._catalogue.lists.known(wanted)


def _listing(query: bytes) -> ProductListing | None:
    """Returns what a query asks for; None when the long way has something to say of it."""
    bad: list[Violation] = []
    decoder = Decoder("")  # there is no amount in it
    wanted = decoder.read(asked(query, ProductListing, bad), ProductListing, "/query", bad)
    return None if bad else wanted

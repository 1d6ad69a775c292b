"""Answers: JSON with exact decimals as numbers, made once and sent as they are."""

from collections.abc import Sequence
from typing import Final

import msgspec
from litestar.types import Receive, Scope, Send

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
encode: Final = _ENCODER.encode
_NOT_KEPT: Final = (b"cache-control", b"no-store")


class Reply:
    """An answer that is all bytes already."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        kind: str = "application/json",
        **headers: str | Sequence[str],
    ) -> None:
        """In a header's name, `_` stands for `-`; several values are as many headers."""
        self._body = body
        self._status = status
        self._headers = [
            (name.replace("_", "-").encode(), value.encode())
            for name, given in headers.items()
            for value in ((given,) if isinstance(given, str) else given)
        ]
        if "cache_control" not in headers:
            self._headers.append(_NOT_KEPT)
        if status not in (204, 304):
            self._headers.append((b"content-type", kind.encode()))
            self._headers.append((b"content-length", b"%d" % len(body)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go(send)

    async def go(self, send: Send, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Sends the answer, with `more` headers after its own."""
        headers = [*self._headers, *more]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def reply(value: object, status: int = 200, **headers: str) -> Reply:
    """Returns an answer with `value` as JSON; in a header's name, `_` stands for `-`."""
    return Reply(encode(value), status, **headers)

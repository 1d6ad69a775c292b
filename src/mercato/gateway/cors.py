"""CORS: pages of the origins that are named may read our answers; no cookie goes with them.

Cookies are for our own pages, so no answer ever says `Access-Control-Allow-Credentials`.
"""

from typing import Any, Final

from litestar.types import ASGIApp, Message, Receive, Send

_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer, "
        b"X-Request-ID, traceparent",
    ),
    (b"access-control-max-age", b"600"),
)
_SHOWN: Final = (
    b"access-control-expose-headers",
    b"ETag, Location, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, X-Request-ID, "
    b"Idempotent-Replayed, Preference-Applied",
)
_VARY: Final = (b"vary", b"Origin")  # also for the others: a cache must not mix them up


class Cors:
    """Answers preflights of `origins`, and shows them the answers of `app`."""

    def __init__(self, app: ASGIApp, origins: str) -> None:
        self._app = app
        self._origins = frozenset(one.strip().encode() for one in origins.split(",") if one.strip())

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if not self._origins:
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        more = [_VARY]
        if origin in self._origins:
            more += [(b"access-control-allow-origin", origin), _SHOWN]
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                told = [*more[:-1], *_PREFLIGHT]
                await send({"type": "http.response.start", "status": 204, "headers": told})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, answer)

"""The outermost layer of the gateway: request ids, traces, access log, metrics, safe headers."""

import time
from collections.abc import Sequence
from typing import Any, Final

import structlog
from litestar.types import ASGIApp, Message, Receive, Send
from prometheus_client import Counter, Gauge, Histogram

from mercato.gateway.client import CLIENT_KEY, Proxies
from mercato.gateway.operation import CALLER_KEY
from mercato.gateway.problems import MEANING, MEDIA_TYPE, headers_for, problem
from mercato.platform import telemetry
from mercato.platform.rpc import carry

REQUESTS = Counter(
    "mercato_http_requests_total", "HTTP requests answered.", ("method", "route", "status")
)
SECONDS = Histogram(
    "mercato_http_request_seconds", "Duration of HTTP requests.", ("method", "route"),
    buckets=telemetry.BUCKETS,
)  # fmt: skip
IN_FLIGHT = Gauge("mercato_http_requests_in_flight", "HTTP requests being answered.")

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_QUIET: Final = frozenset(("/livez", "/readyz", "/metrics"))
_TRACED: Final = frozenset((b"x-request-id", b"traceparent"))
_SAFE: Final = (
    (b"server", b"mercato"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
# For a year, once a browser has come by https; said by http it would mean nothing.
_HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")
# What an answer that is no page may do in a browser: nothing. Pages say better themselves.
_NOTHING: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_NOTHING_NAMES: Final = frozenset(name for name, _ in _NOTHING)

Headers = Sequence[tuple[bytes, bytes]]

log = structlog.get_logger()


class Edge:
    """Wraps `app`; whatever happens inside, there is one answer, one log line and one count."""

    def __init__(self, app: ASGIApp, proxies: Proxies, *, https: bool = False) -> None:
        self._app = app
        self._safe = (*_SAFE, _HTTPS_ONLY) if https else _SAFE
        self._proxies = proxies
        self._counters: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        trace = telemetry.begin(
            {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _TRACED}
        )
        method, inner = scope["method"], scope
        if method == "HEAD":  # the server leaves out the body of an answer to the scope it knows
            inner = {**scope, "method": "GET"}
        client = inner[CLIENT_KEY] = self._proxies.client(scope)
        carry(client)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = list(message["headers"])
                message["headers"] = self._dressed(given, trace.request_id)
            await send(message)

        IN_FLIGHT.inc()
        try:
            await self._app(inner, receive, answer)
        except Exception as failure:
            log.error("request failed", exc_info=failure)
            if status:
                raise
            await _sorry(scope["path"], answer)
        finally:
            IN_FLIGHT.dec()
            self._tell(inner, method, status, time.perf_counter() - started)

    def _dressed(self, given: Headers, request_id: str) -> Headers:
        """Returns the headers of an answer: those given, and what every answer has."""
        said = [name for name, _ in given if name in _NOTHING_NAMES]
        more = [each for each in _NOTHING if each[0] not in said] if said else _NOTHING
        return [*given, *more, *self._safe, (b"x-request-id", request_id.encode())]

    def _tell(self, scope: Any, method: str, status: int, seconds: float) -> None:
        route = scope.get("path_template") or "unknown"
        method = method if method in _METHODS else "other"
        key = (method, route, status)
        if key not in self._counters:
            self._counters[key] = REQUESTS.labels(*key), SECONDS.labels(method, route)
        count, duration = self._counters[key]
        count.inc()
        duration.observe(seconds)
        ms, user_id = round(seconds * 1000, 2), scope.get(CALLER_KEY)
        quiet = route in _QUIET
        if not quiet and (access_log := telemetry.access_log()):
            return access_log.told(method, route, status, ms, user_id)
        tell = log.debug if quiet else log.info
        tell("request", method=method, route=route, status=status, ms=ms, user_id=user_id)


async def _sorry(path: str, send: Send) -> None:
    body = problem(path, 500, "internal-error", MEANING[500])
    named = headers_for(500) | {"content-type": MEDIA_TYPE, "content-length": str(len(body))}
    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})

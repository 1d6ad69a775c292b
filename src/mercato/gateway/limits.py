"""How much one client may ask: a class for every route, counted by user and by address.

What costs little is counted in this process alone (`read`: pages come from its memory, and a
round trip to Redis would cost more than the page); everything else is counted in Redis.
"""

import math
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, Literal

from litestar.types import ASGIApp, Message, Receive, Send
from prometheus_client import Counter

from mercato.gateway.client import CLIENT_KEY
from mercato.gateway.problems import refused
from mercato.gateway.settings import GatewaySettings
from mercato.kernel.errors import Exhausted
from mercato.kernel.identity import Caller
from mercato.platform.limits import Bucket, Local, Quota, Verdict
from mercato.platform.limits.shared import Limiter

Headers = Sequence[tuple[bytes, bytes]]
Class = Literal["login", "register", "reset", "token", "order", "write", "read"]
BUCKETS_KNOWN_MAX: Final = 8192  # that need not be named anew
VERDICTS_KEY: Final = "mercato.verdicts"  # in the ASGI scope: policies and what they said
ADMITTED_KEY: Final = "mercato.admitted"  # there: its operation need not ask any more

REFUSED = Counter("mercato_rate_limited_total", "Requests refused by a limit.", ("limit",))

# The classes of what does not follow from the method, and of what is no operation.
_CLASSES: Final[tuple[tuple[str, str, Class], ...]] = (
    ("POST", r"/api/orders", "order"),
    ("POST", r"/api/users/authenticate", "login"),
    ("POST", r"/api/users/register", "register"),
    ("POST", r"/api/users/(password/.*|verify-email.*)", "reset"),
    ("POST", r"/api/sessions/(refresh|exchange)", "token"),
    ("POST", r"/oauth/(token|revoke|introspect)", "token"),
    ("POST", r"/oauth/authorize", "login"),
    ("POST", r"/account/.*", "reset"),
)
_RULES: Final = tuple((method, re.compile(path), name) for method, path, name in _CLASSES)
_SHARED: Final[tuple[Class, ...]] = ("order", "write", "read")
_LIMITED: Final = ("/api/", "/oauth/", "/account/")
# Where the caller is known only to the operation itself, which then asks `admit`.
_BY_USER: Final = "/api/"
# Operations of nobody in particular, which a flood is for: refused before anything else is done.
FOR_ANYONE: Final[dict[str, Class]] = {
    "/api/users/authenticate": "login",
    "/api/users/register": "register",
    "/api/sessions/refresh": "token",
    "/api/sessions/exchange": "token",
}


def class_of(method: str, path: str) -> Class | None:
    """Returns the class of a route or a path; None where nothing is limited (health, docs)."""
    for rule, pattern, name in _RULES:
        if rule == method and pattern.fullmatch(path):
            return name
    if not path.startswith(_LIMITED):
        return None
    return "read" if method in ("GET", "HEAD") else "write"


def covering(method: str, path: str) -> str:
    """Returns what stands for `path` where no route does: the pattern that puts it in its class."""
    for rule, pattern, _ in _RULES:
        if rule == method and pattern.fullmatch(path):
            return pattern.pattern
    return next((f"{start}.*" for start in _LIMITED if path.startswith(start)), "unknown")


class Limits:
    """Says of each request whether it may go on."""

    def __init__(self, settings: GatewaySettings, limiter: Limiter) -> None:
        self._on = settings.rate_limits
        self._limiter = limiter
        self._local = Local()
        quotas: dict[Class, Quota] = {
            "login": Quota.of(settings.rate_limit_login),
            "register": Quota.of(settings.rate_limit_register),
            "reset": Quota.of(settings.rate_limit_reset),
            "token": Quota.of(settings.rate_limit_token),
            "order": Quota.of(settings.rate_limit_order),
            "write": Quota.of(settings.rate_limit_write),
            "read": Quota.of(settings.rate_limit_read),
        }
        # An address counts for many where people are signed in: they may share it.
        factor = settings.rate_limit_address_factor
        self._of_user = quotas
        self._of_address = quotas | {name: quotas[name] * factor for name in _SHARED}
        self._buckets = lru_cache(maxsize=BUCKETS_KNOWN_MAX)(self._made)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: GatewaySettings) -> AsyncIterator["Limits"]:
        """Opens the limits that `settings` tell of; Redis may come later, or never."""
        async with Limiter.open(
            settings.redis_addr, password=settings.redis_password, database=settings.redis_db
        ) as limiter:
            yield cls(settings, limiter)

    async def admit(self, scope: Any, name: Class, caller: Caller | None = None) -> None:
        """Takes one request of `name` from the caller's quota and from their address's.

        Raises Exhausted. What the quotas said is told in the answer's headers.
        """
        if not self._on:
            return
        network = scope[CLIENT_KEY].network
        buckets = self._buckets(name, network, caller.id if caller else None)
        if name == "read":
            verdicts = self._local.spend(buckets)
        else:  # a flood is not to be a flood of questions to Redis
            verdicts = self._limiter.refused(buckets) or await self._limiter.spend(buckets)
        names = (f"{name}-user", name) if caller else (name,)
        scope[VERDICTS_KEY] = tuple(zip(names, verdicts, strict=True))
        wait_s = max(each.retry_s for each in verdicts)
        if wait_s:
            REFUSED.labels(name).inc()
            seconds = math.ceil(wait_s)
            raise Exhausted(f"too many requests; try again in {seconds} s", retry_after_s=seconds)

    def read(self, scope: Any) -> Headers | None:
        """Takes one read of nobody in particular, and returns the headers that say what is left.

        None: there is no room, and nothing is taken.
        """
        if not self._on:
            return ()
        said = self._local.spend(self._buckets("read", scope[CLIENT_KEY].network, None))
        return told([("read", said[0])]) if said[0].admitted else None

    def _made(self, name: Class, network: str, caller_id: str | None) -> Sequence[Bucket]:
        of_address = Bucket(f"limit:{name}:{network}", self._of_address[name])
        if caller_id is None:
            return (of_address,)
        return (Bucket(f"limit:{name}:{caller_id}", self._of_user[name]), of_address)


class Limited:
    """Asks the limits for what is no operation, and tells everybody what they said."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and VERDICTS_KEY in scope:
                message["headers"] = [*message["headers"], *told(scope[VERDICTS_KEY])]
            await send(message)

        path, method, name = scope["path"], scope["method"], None
        if not path.startswith(_BY_USER):
            name = class_of(method, path)
        elif method == "POST" and path in FOR_ANYONE:
            name, scope["path_template"], scope[ADMITTED_KEY] = FOR_ANYONE[path], path, True
        if name is not None:
            try:
                await self._limits.admit(scope, name)
            except Exhausted as refusal:
                return await refused(scope, refusal)(scope, receive, answer)
        await self._app(scope, receive, answer)


def told(verdicts: Sequence[tuple[str, Verdict]]) -> Headers:
    """Returns the headers of draft-ietf-httpapi-ratelimit-headers: each policy, what is left of it.

    `w` is the window in seconds in which `q` requests go through, `t` when all of them are back.
    """
    policies = b", ".join([_policy(name, verdict.quota) for name, verdict in verdicts])
    left = ", ".join([f'"{n}";r={v.remaining};t={math.ceil(v.reset_s)}' for n, v in verdicts])
    return ((b"ratelimit-policy", policies), (b"ratelimit", left.encode()))


@lru_cache(maxsize=64)
def _policy(name: str, quota: Quota) -> bytes:
    return f'"{name}";q={quota.count};w={quota.period_s}'.encode()

"""One declaration a route: it decides who may call, what is read, and what is documented.

A handler is a method whose parameters say what it needs: `caller`, `path`, `query`, `headers` and
`body`, each by its type. All of them are read before it runs, and every problem in any of them is
told at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar, get_type_hints

from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Method

from mercato.gateway.decoding import TWICE, Decoder, Malformed, asked, parsed
from mercato.gateway.limits import ADMITTED_KEY, Limits, class_of
from mercato.gateway.problems import TimedOut, UnsupportedMediaType, allowed, refused
from mercato.gateway.reply import Reply
from mercato.gateway.scope import within
from mercato.gateway.shapes import Parameters
from mercato.gateway.shapes import Request as Body
from mercato.kernel.errors import AppError, Forbidden, Invalid, Unauthenticated, Violation, all_of
from mercato.kernel.identity import Caller
from mercato.platform.tokens import Tokens

BODY_BYTES_MAX: Final = 256 * 1024
BODY_S_MAX = 10.0  # for the whole of a body to come
CALLER_KEY: Final = "mercato.caller"  # in the ASGI scope, for the access log
ROLE_KEY: Final = "mercato.role"  # and for the trail of security events

F = TypeVar("F", bound=Callable[..., Awaitable[Reply]])
AnyRequest = Request[Any, Any, Any]


class Who(Enum):
    """Who may call an operation."""

    ANYONE = "anyone"
    USER = "a signed-in user"
    ADMIN = "an admin"


@dataclass(frozen=True, slots=True)
class Operation:
    """What is known of a route beside its code."""

    method: Method
    path: str
    who: Who
    status: int
    answer: type
    refusals: tuple[int, ...]  # statuses beside those that follow from the rest
    answers_with: tuple[str, ...]  # headers of the answer
    name: str
    summary: str
    description: str
    takes: Mapping[str, type]
    scope: str  # that a token got by OAuth needs; empty: it is not for such tokens


def operation(
    method: Method,
    path: str,
    who: Who,
    answer: type,
    *,
    status: int = 200,
    refusals: Sequence[int] = (),
    answers_with: Sequence[str] = (),
    scope: str = "",
) -> Callable[[F], F]:
    """Declares the decorated method as the handler of `method path`."""

    def declare(handler: F) -> F:
        hints = get_type_hints(handler)
        hints.pop("return")
        summary, _, description = (handler.__doc__ or "").partition("\n")
        handler.operation = Operation(  # type: ignore[attr-defined]
            method, path, who, status, answer, tuple(refusals), tuple(answers_with),
            handler.__name__, summary.rstrip("."), " ".join(description.split()), hints, scope,
        )  # fmt: skip
        return handler

    return declare


def operations(resource: object) -> list[Operation]:
    """Returns what `resource` declares, in the order of its code."""
    members = vars(type(resource)).values()
    return [member.operation for member in members if hasattr(member, "operation")]


class Door:
    """Makes route handlers that let in those who may, with what they send read and checked."""

    def __init__(self, tokens: Tokens, currency: str, limits: Limits) -> None:
        self._tokens = tokens
        self._limits = limits
        self._decoder = Decoder(currency)

    def routes(self, resource: object) -> list[HTTPRouteHandler]:
        declared = operations(resource)
        paths = {one.path: [o.method for o in declared if o.path == one.path] for one in declared}
        return [
            # First, or the framework makes one that knows the first method only.
            *(options(path, methods) for path, methods in paths.items()),
            *(self._route(each, getattr(resource, each.name)) for each in declared),
        ]

    def _route(
        self, declared: Operation, method: Callable[..., Awaitable[Reply]]
    ) -> HTTPRouteHandler:
        takes = {name: kind for name, kind in declared.takes.items() if name != "caller"}
        asks = "caller" in declared.takes
        limit = class_of(declared.method, declared.path)

        async def handle(request: AnyRequest) -> ASGIApp:
            try:
                return await answer(request)
            except AppError as refusal:  # not the framework's way, which takes ten times as long
                return refused(request.scope, refusal)

        async def answer(request: AnyRequest) -> ASGIApp:
            arguments: dict[str, Any] = {}
            caller: Caller | None = None
            if declared.who is not Who.ANYONE:
                try:
                    caller = self._admitted(request, declared)
                except Unauthenticated:
                    await self._limits.admit(request.scope, "read")  # tokens are not for guessing
                    raise
                if asks:
                    arguments["caller"] = caller
            if limit is not None and ADMITTED_KEY not in request.scope:
                await self._limits.admit(request.scope, limit, caller)
            if declared.method == "POST" and "body" not in takes and _has_body(request):
                raise Invalid("this takes no body", [Violation("", "must be empty")])
            if takes or caller:  # probes and public documents pass over a query
                await self._read(request, takes, arguments)
            return await method(**arguments)

        return _handler(declared.path, declared.method)(handle)

    def _admitted(self, request: AnyRequest, declared: Operation) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("send your token: `Authorization: Bearer <token>`")
        caller = self._tokens.caller(token.strip())
        if caller.role == "service":
            raise Unauthenticated("the token is not valid")
        request.scope[CALLER_KEY] = caller.id  # type: ignore[typeddict-unknown-key]
        request.scope[ROLE_KEY] = caller.role  # type: ignore[typeddict-unknown-key]
        caller = within(caller, declared.scope, reads=declared.method == "GET")
        if declared.who is Who.ADMIN and caller.role != "admin":
            raise Forbidden("only an admin may do this")
        return caller

    async def _read(
        self, request: AnyRequest, takes: Mapping[str, type], arguments: dict[str, Any]
    ) -> None:
        bad: list[Violation] = []
        body: object = None
        for name, kind in takes.items():
            if name == "body":
                body = await _json(request)
                arguments[name] = self._decoder.read(body, kind, "", bad)
            else:
                source, at = _SOURCES[name], _POINTERS[name]
                value = source(request, kind, bad)
                arguments[name] = self._decoder.read(value, kind, at, bad)
        if "query" not in takes:
            self._decoder.read(_query(request, Parameters, bad), Parameters, "/query", bad)
        if bad:
            raise Invalid("some fields break their rules", all_of(bad, _further(takes, body)))


def _further(takes: Mapping[str, type], body: object) -> Iterator[Violation]:
    """Yields what is wrong with the body beyond its schema."""
    kind = takes.get("body")
    if isinstance(body, dict) and kind is not None and issubclass(kind, Body):
        said = {name: each if isinstance(each, str) else "" for name, each in body.items()}
        for each in kind.further(said):
            yield Violation(f"/{each.field}" if each.field else "", each.detail)


def options(path: str, methods: Sequence[str]) -> HTTPRouteHandler:
    """Returns the route that tells the methods of `path`."""

    async def tell(request: AnyRequest) -> ASGIApp:
        return Reply(b"", 204, allow=allowed(methods))

    return _handler(path, "OPTIONS")(tell)


def _handler(path: str, method: Method) -> HTTPRouteHandler:
    # The framework's idea of a status goes unused: every Reply has its own.
    path = path.replace("{id}", "{id:str}")
    return HTTPRouteHandler(path, http_method=method, status_code=200)


def _path(request: AnyRequest, kind: type, bad: list[Violation]) -> object:
    return request.scope["path_params"]


def _query(request: AnyRequest, kind: type, bad: list[Violation]) -> object:
    return asked(request.scope["query_string"], kind, bad)


def _headers(request: AnyRequest, kind: type, bad: list[Violation]) -> object:
    names = kind.__struct_encode_fields__  # type: ignore[attr-defined]
    given = {name: request.headers.getall(name) for name in names if name in request.headers}
    twice = [name for name, each in given.items() if len(each) > 1 and name not in _LISTS]
    bad += [Violation(f"/header/{name}", TWICE) for name in twice]
    return {name: ", ".join(each) for name, each in given.items() if name not in twice}


_LISTS: Final = ("if-none-match", "prefer")  # whose lines are one list (RFC 9110 5.3)
_SOURCES: Final = {"path": _path, "query": _query, "headers": _headers}
_POINTERS: Final = {"path": "/path", "query": "/query", "headers": "/header"}


def _has_body(request: AnyRequest) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _json(request: AnyRequest) -> object:
    try:
        async with asyncio.timeout(BODY_S_MAX):
            body = await request.body()
    except TimeoutError:
        raise TimedOut("the body did not come in time: send it again, at once") from None
    except InternalServerException:  # who asked has gone: nobody reads the answer
        raise TimedOut("the body did not come whole: send it again") from None
    if not body:
        raise Malformed("the body is empty: send a JSON object")
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    kind, charset = kind.strip(), parameters.partition("charset=")[2].strip(' "')
    known = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not known or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType("send the body as `Content-Type: application/json`, in UTF-8")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("send the body without a `Content-Encoding`")
    return parsed(body)

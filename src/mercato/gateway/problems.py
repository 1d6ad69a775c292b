"""Refusals over HTTP: one table from kinds to statuses, and RFC 9457 problem details."""

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

import grpc
import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import Meta

from mercato.gateway.decoding import Malformed
from mercato.gateway.reply import Reply
from mercato.kernel.errors import (
    AppError,
    Conflict,
    Exhausted,
    Forbidden,
    Invalid,
    NotFound,
    Stale,
    Unauthenticated,
    Unavailable,
)
from mercato.platform import telemetry
from mercato.platform.rpc.refusals import STATUS as CODE_OF
from mercato.platform.rpc.refusals import Refused

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
REALM: Final = 'Bearer realm="mercato"'


class TimedOut(AppError):
    """What the client had still to send did not come in time."""


class UnsupportedMediaType(AppError):
    """The body is of a type that we do not read."""


class NotConfigured(AppError):
    """This needs something that the operator has not set up."""


STATUS: Final[Mapping[type[AppError], int]] = {
    Malformed: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    TimedOut: 408,
    Conflict: 409,
    Stale: 412,
    UnsupportedMediaType: 415,
    Invalid: 422,
    Exhausted: 429,
    NotConfigured: 501,
    Unavailable: 503,
}
# What each status means here; `type` points at it on the page of the documentation.
MEANING: Final = {
    400: "The body is not JSON, or is JSON that could mean two things.",
    401: "There is no valid token. Get one from `POST /api/users/authenticate`.",
    403: "The token is good, and its bearer may not do this.",
    404: "There is no such thing, or none that you may know of.",
    405: "The path knows other methods; `Allow` names them.",
    408: "The body did not come within 10 seconds; the connection is closed.",
    409: "Well formed, and against the present state of things.",
    412: "Somebody changed it meanwhile: read it again and repeat your change.",
    413: "The body is larger than 256 KiB.",
    415: "The body is of a type that is not read here: send `application/json`.",
    422: "Some fields or parameters break their rules; `errors` names all of them.",
    429: "Too much at once; try again after `Retry-After` seconds.",
    500: "A fault of ours. Tell us the `request_id`.",
    501: "The operator has not set up what this needs.",
    503: "Something that this needs is away; try again after `Retry-After` seconds.",
}
# RFC 9110's names, which Python's own table has from 3.13 on.
_TITLE: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
# What services call by another name than REST does, and what was no field of the body.
_RENAMED: Final = {
    "expected_total": "/total",
    "idempotency_key": "/header/idempotency-key",
    "expected_version": "/header/if-match",
}

log = structlog.get_logger()


class FieldError(msgspec.Struct, frozen=True):
    pointer: Annotated[
        str,
        Meta(
            description="JSON pointer (RFC 6901) into the body; for parameters, `/path/<name>`, "
            "`/query/<name>` or `/header/<name>`.",
            examples=["/items/0/quantity"],
        ),
    ]
    detail: Annotated[str, Meta(examples=["must be at least 1"])]


class Problem(msgspec.Struct, frozen=True):
    """What went wrong, after RFC 9457."""

    type: Annotated[str, Meta(description="Where this kind of problem is explained.")]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="The path that was asked for.")]
    code: Annotated[str, Meta(description="The refusal's own name, for programs.")]
    request_id: str
    errors: Annotated[list[FieldError], Meta(description="Every bad field, all at once.")]


def title(status: int) -> str:
    return _TITLE.get(status) or HTTPStatus(status).phrase


def problem(
    path: str, status: int, code: str, detail: str, errors: list[FieldError] | None = None
) -> bytes:
    """Returns the JSON text of a problem."""
    trace = telemetry.current()
    return msgspec.json.encode(
        Problem(
            type=f"/docs#problem-{status}",
            title=title(status),
            status=status,
            detail=detail,
            instance=path,
            code=code,
            request_id=trace.request_id if trace else "",
            errors=errors or [],
        )
    )


def allowed(methods: Iterable[str]) -> str:
    """Returns what `Allow` says of a path that has routes for `methods`."""
    known = {*methods, "OPTIONS"}
    return ", ".join(sorted(known | {"HEAD"} if "GET" in known else known))


def headers_for(status: int) -> dict[str, str]:
    """Returns the headers that go with every problem of this status."""
    found = {"cache-control": "no-store"}
    if status == 408:
        found["connection"] = "close"
    if status == 401:
        found["www-authenticate"] = REALM
    if status in (429, 503):
        found["retry-after"] = str(RETRY_AFTER_S)
    return found


def status_of(refusal: AppError) -> int:
    if isinstance(refusal, Refused):
        return _OF_CODE.get(refusal.code, 500)
    return next((STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS), 500)


def pointer(field: str) -> str:
    """Returns a service's field path (`items[0].product_id`) as a JSON pointer."""
    if field.startswith("/") or not field:
        return field
    if field in _RENAMED:
        return _RENAMED[field]
    path = re.sub(r"\.(minor|currency)$", "", field)  # money is one value here
    return _RENAMED.get(path) or "/" + re.sub(r"\[(\d+)\]", r"/\1", path).replace(".", "/")


def refused(scope: Any, refusal: AppError) -> Reply:
    """Returns the answer to a request that is refused."""
    status, body, more = _told(scope, refusal)
    headers = {**headers_for(status), **more}
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    return Reply(body, status, MEDIA_TYPE, **named)


def _refused(request: Request[Any, Any, Any], refusal: AppError) -> Response[bytes]:
    return _response(*_told(request.scope, refusal))


def _told(scope: Any, refusal: AppError) -> tuple[int, bytes, dict[str, str]]:
    """Returns the status, the body and the headers that are this refusal's own."""
    status, path = status_of(refusal), scope["path"]
    if status == 500:
        log.error("request failed", exc_info=refusal)
        return 500, problem(path, 500, "internal-error", MEANING[500]), {}
    errors = [FieldError(pointer(each.field), each.detail) for each in refusal.violations]
    more = {}
    if challenge := getattr(refusal, "challenge", None) or _challenge(scope, status, refusal):
        more["www-authenticate"] = challenge
    if refusal.retry_after_s:
        more["retry-after"] = str(refusal.retry_after_s)
    return status, problem(path, status, refusal.slug, refusal.detail, errors), more


def _challenge(scope: Any, status: int, refusal: AppError) -> str:
    """Returns what a bad token is told, and who has sent none is not (RFC 6750, 3.1)."""
    if status != 401 or refusal.slug != "unauthenticated":
        return ""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, token = (given[-1] if given else b"").decode("latin-1").partition(" ")
    bad = scheme.lower() == "bearer" and token.strip()
    return f'{REALM}, error="invalid_token"' if bad else ""


def _http(request: Request[Any, Any, Any], failure: HTTPException) -> Response[bytes]:
    """Answers what the framework itself refuses: no such route, method or so large a body."""
    status = failure.status_code
    if status not in MEANING or status == 500:
        return _failed(request, failure)
    code = title(status).lower().replace(" ", "-")
    detail = failure.detail if status == 400 else MEANING[status]
    body = problem(request.scope["path"], status, code, detail)
    headers = dict(failure.headers or {})
    if status == 405:
        headers["allow"] = allowed(headers["allow"].split(", "))
    return _response(status, body, headers)


def _failed(request: Request[Any, Any, Any], failure: Exception) -> Response[bytes]:
    log.error("request failed", exc_info=failure)
    path = request.scope["path"]
    return _response(500, problem(path, 500, "internal-error", MEANING[500]))


def _response(status: int, body: bytes, more: dict[str, str] | None = None) -> Response[bytes]:
    headers = headers_for(status) | (more or {})
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


_OF_CODE: Final = {code: STATUS[kind] for kind, code in CODE_OF.items()} | {
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.DEADLINE_EXCEEDED: 503,
    grpc.StatusCode.CANCELLED: 503,  # by a copy that stops, or whose clock saw the deadline first
}

Handler = Callable[[Request[Any, Any, Any], Any], Response[bytes]]
HANDLERS: Final[ExceptionHandlersMap] = {
    AppError: _refused,
    HTTPException: _http,
    Exception: _failed,
}

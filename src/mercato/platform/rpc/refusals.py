"""Refusals on the wire: google.rpc.Status with BadRequest and ErrorInfo, there and back."""

from collections.abc import Sequence
from typing import Final

import grpc
from google.rpc import error_details_pb2, status_pb2
from pymongo.errors import (
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

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
    Violation,
)

DETAILS_KEY: Final = "grpc-status-details-bin"
DOMAIN: Final = "mercato"

# What MongoDB says while it stops, steps down, starts or is overtaken
# (https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).
_PASSING: Final = frozenset({
    24, 43, 91, 112, 134, 189, 246, 251, 262, 290, 10107, 11600, 11602, 13435, 13436
})  # fmt: skip
_PASSING_LABELS: Final = ("TransientTransactionError", "RetryableWriteError")

_AWAY: Final = frozenset({
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED
})  # fmt: skip

STATUS: Final[dict[type[AppError], grpc.StatusCode]] = {
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    Stale: grpc.StatusCode.ABORTED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}


def understood(failure: BaseException) -> AppError | None:
    """Returns the refusal that `failure` is or means; None when it is a fault of ours."""
    if isinstance(failure, AppError):
        return failure
    if isinstance(failure, ConnectionFailure | ExecutionTimeout | WTimeoutError):
        return Unavailable("the database is away")
    if isinstance(failure, PyMongoError) and any(map(failure.has_error_label, _PASSING_LABELS)):
        return Unavailable("the database is busy")
    if isinstance(failure, OperationFailure) and (failure.timeout or failure.code in _PASSING):
        return Unavailable("the database is busy")
    return None


def status_of(failure: BaseException) -> status_pb2.Status:
    """Returns the status that a caller sees; a fault of ours is shown without its text."""
    refusal = understood(failure)
    if refusal is None:
        code = grpc.StatusCode.INTERNAL.value[0]
        return status_pb2.Status(code=code, message="internal error")
    status = status_pb2.Status(code=_code(refusal).value[0], message=refusal.detail)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=refusal.slug, domain=DOMAIN))
    if refusal.retry_after_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(refusal.retry_after_s)
        status.details.add().Pack(retry)
    if refusal.violations:
        bad = error_details_pb2.BadRequest()
        for violation in refusal.violations:
            bad.field_violations.add(field=violation.field, description=violation.detail)
        status.details.add().Pack(bad)
    return status


def _code(refusal: AppError) -> grpc.StatusCode:
    if isinstance(refusal, Refused):
        return refusal.code  # handed on as it came
    kinds = (STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS)
    return next(kinds, grpc.StatusCode.INTERNAL)


class Refused(AppError):
    """What another service refused, by the slug that it gave."""

    def __init__(
        self, code: grpc.StatusCode, slug: str, detail: str, violations: Sequence[Violation]
    ) -> None:
        super().__init__(detail, violations)
        self.code = code
        self.slug = slug


def refusal_of(status: status_pb2.Status) -> Refused:
    """Returns what `status` says, for a caller that knows none of that service's errors."""
    code = next(c for c in grpc.StatusCode if c.value[0] == status.code)
    slug, violations, retry_after_s = code.value[1].replace(" ", "-"), [], 0
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            slug = info.reason
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = [Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.seconds
    refused = Refused(code, slug, status.message, violations)
    refused.retry_after_s = retry_after_s
    return refused


def refusal_in(failure: grpc.aio.AioRpcError) -> Refused:
    """Returns what a failed call says: the service's refusal, or the transport's own trouble."""
    for name, value in failure.trailing_metadata() or ():
        if name == DETAILS_KEY and isinstance(value, bytes):
            return refusal_of(status_pb2.Status.FromString(value))
    code = failure.code()
    return Refused(code, code.value[1].replace(" ", "-"), _told(code), ())


def _told(code: grpc.StatusCode) -> str:
    if code in _AWAY:
        return "a service that this needs is away; try again"
    return f"the call failed ({code.value[1]})"

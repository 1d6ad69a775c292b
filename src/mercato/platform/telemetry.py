"""Logs as JSON lines, Prometheus metrics, and the request's id and trace on their way."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from mercato.kernel.identity import new_id
from mercato.kernel.redaction import redacted, without_secrets
from mercato.platform.lines import AccessLine, Lines, timestamp

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RPC_SECONDS = Histogram(
    "mercato_rpc_seconds", "Duration of gRPC calls served.", ("method", "code"), buckets=BUCKETS
)
EVENTS = Counter("mercato_events_total", "Events by what became of them.", ("subject", "outcome"))
OUTBOX_OLDEST = Gauge("mercato_outbox_oldest_seconds", "Age of the oldest open row.", ("outbox",))
OUTBOX_OPEN = Gauge("mercato_outbox_open", "Rows that wait for their answer.", ("outbox",))
OUTBOX_ALARMS = Gauge(
    "mercato_outbox_overdue", "Rows that have waited for two minutes or more.", ("outbox",)
)
GROUP_SIZE = Histogram(
    "mercato_group_commit_size", "Changes in one transaction.", ("group",),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)  # fmt: skip

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Trace:
    """What tells one request's traces apart: our id, and W3C trace context."""

    request_id: str
    traceparent: str
    ours: bool = False  # we have made up both


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(given: Mapping[str, str]) -> Trace:
    """Carries on the trace that `given` (lower-case headers) tells of, or begins one."""
    request_id, parent = given.get("x-request-id", ""), given.get("traceparent", "")
    if not (request_id or parent):
        trace = Trace(new_id(), _new_traceparent(), ours=True)
    else:
        trace = Trace(
            request_id if _REQUEST_ID.fullmatch(request_id) else new_id(),
            parent if _TRACEPARENT.fullmatch(parent) else _new_traceparent(),
        )
    _trace.set(trace)
    return trace


def current() -> Trace | None:
    return _trace.get()


def headers() -> dict[str, str]:
    """Returns the current trace as headers for the next hop; empty outside a request."""
    trace = _trace.get()
    if trace is None:
        return {}
    return {"x-request-id": trace.request_id, "traceparent": trace.traceparent}


def start(service: str, *, level: str, host: str, metrics_port: int) -> None:
    """Sets up this process's logs, and serves its metrics on `host:metrics_port` (0: not).

    No secret gets into them, whoever logs: structlog, libraries, or Python about our last failure.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Redacting("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    sys.excepthook = _told_at_the_end
    lines = Lines(sys.stdout)
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stdout.isatty() else _json_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_trace,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            without_secrets_in,
            _stamped,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    if renderer is _json_line and level.lower() in ("debug", "info"):
        _access.append(AccessLog(lines, service))
    if metrics_port:
        start_http_server(metrics_port, host)


class AccessLog:
    """The line of each request, without the machinery that a line of any other form needs.

    It has what `log.info("request", ...)` has. Lines of one turn of the event loop go out together.
    """

    def __init__(self, lines: Lines, service: str) -> None:
        self._lines = lines
        self._service = service

    def told(self, method: str, route: str, status: int, ms: float, user_id: str | None) -> None:
        """Writes one line; of `method` and `route` there are a few, and none is a stranger's."""
        trace = _trace.get()
        request_id, trace_id = (trace.request_id, trace.traceparent[3:35]) if trace else ("", "")
        if trace is None or not trace.ours:
            request_id, trace_id = without_secrets(request_id), without_secrets(trace_id)
        who = user_id and without_secrets(user_id)
        at = timestamp()
        self._lines.soon(
            AccessLine(method, route, status, ms, who, "request", self._service, request_id,
                       trace_id, "info", at)
        )  # fmt: skip


_access: list[AccessLog] = []


def access_log() -> AccessLog | None:
    """Returns what tells of requests; None where lines are for people, or are not wanted."""
    return _access[-1] if _access else None


def without_secrets_in(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Is the processor that hides the secrets of a line, those in a traceback's text too."""
    return {name: redacted(value, name) for name, value in event.items()}


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _told_at_the_end(
    kind: type[BaseException], failure: BaseException, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, failure, trace))
    sys.stderr.write(without_secrets(text))


def _new_traceparent() -> str:
    text = os.urandom(24).hex()
    return f"00-{text[:32]}-{text[32:]}-01"


def _with_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace = _trace.get()
    if trace is not None:
        event["request_id"] = trace.request_id
        event["trace_id"] = trace.traceparent[3:35]
    return event


def _stamped(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = timestamp()
    return event


def _json_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return msgspec.json.encode(dict(event), enc_hook=repr).decode()

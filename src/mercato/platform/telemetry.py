"""Logs as JSON lines, Prometheus metrics, and the request's id and trace on their way."""

import logging
import re
import secrets
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


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(given: Mapping[str, str]) -> Trace:
    """Carries on the trace that `given` (lower-case headers) tells of, or begins one."""
    request_id = given.get("x-request-id", "")
    parent = given.get("traceparent", "")
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
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stdout.isatty() else _json_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_trace,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            without_secrets_in,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    if metrics_port:
        start_http_server(metrics_port, host)


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
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _with_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace = _trace.get()
    if trace is not None:
        event["request_id"] = trace.request_id
        event["trace_id"] = trace.traceparent[3:35]
    return event


def _json_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return msgspec.json.encode(dict(event), enc_hook=repr).decode()

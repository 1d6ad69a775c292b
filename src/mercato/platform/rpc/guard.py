"""The guard at a service's door: deadline, caller, permission, shape; and errors without secrets.

Handlers run shielded: a caller that goes away does not cut a write in two.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import grpc
import pymongo
import structlog
from google.protobuf.message import Message
from google.rpc import code_pb2

from mercato.kernel.client import Client
from mercato.kernel.errors import (
    Forbidden,
    Invalid,
    Unauthenticated,
    Violation,
    all_of,
)
from mercato.kernel.identity import Caller, Party, is_id
from mercato.platform import telemetry
from mercato.platform.mongo import TIMEOUT_S, read
from mercato.platform.rpc.refusals import DETAILS_KEY, status_of, understood
from mercato.platform.tasks import Tasks
from mercato.platform.tokens import Tokens

# Only the gateway may speak for a user, beside its own service token:
# `<user id>:<role>:<session id>:<scopes>`, of which the last two may be empty or left out.
SPEAKS_FOR_KEY: Final = "x-caller"
# Where the request that it carries on came from; believed from the gateway only.
ADDRESS_KEY: Final = "x-client-address"
AGENT_KEY: Final = "x-client-agent"
GATEWAY: Final = "gateway"
# Whose certificates may bring a user's own token.
_BEARERS: Final = frozenset((GATEWAY, "cli"))
_NAMES_KEY: Final = "x509_subject_alternative_name"

# Retries are for calls that found nobody; one that was answered has its answer (gRFC A6).
_NO_RETRY: Final = ("grpc-retry-pushback-ms", "-1")

# How methods begin that only read.
READS: Final = ("Get", "BatchGet", "List")

Method = Callable[[Any, Any], Awaitable[Message]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stubs only
Rule = Callable[[Any], Iterable[Violation]]  # of a whole message
M = TypeVar("M", bound=Message)
log = structlog.get_logger()
_caller: ContextVar[Caller] = ContextVar("caller")
_client: ContextVar[Client | None] = ContextVar("client", default=None)


def caller() -> Caller:
    """Returns who asks, inside a handler."""
    return _caller.get()


def client_of_call() -> Client:
    """Returns whose request this is, inside a handler; empty where no gateway stands before us."""
    return _client.get() or Client()


def validated(message: M, further: Rule | None = None) -> M:
    """Returns `message` when it keeps its rules; else raises Invalid with every bad field.

    What breaks `further` alone is returned: its method refuses that in its own words.
    """
    import protovalidate  # 12 MB, and not needed by those who only call

    violations = protovalidate.collect_violations(message)
    if violations:
        found = [Violation(_path(v.proto.field), v.proto.message) for v in violations]
        more = further(message) if further else ()
        raise Invalid("some fields break their rules", all_of(found, more))
    return message


class Guard(grpc.aio.ServerInterceptor):
    """Stands before every method; one that `allowed` does not name is refused.

    `further` has, by method, the rules that a `.proto` cannot say.
    `certified`: connections are mutual TLS, and a service's certificate must bear its name.
    """

    def __init__(
        self,
        tokens: Tokens,
        allowed: Mapping[str, Set[Party]],
        further: Mapping[str, Rule],
        *,
        certified: bool = False,
    ) -> None:
        import protovalidate  # noqa: F401  # no call is to wait for it

        self._tokens = tokens
        self._allowed = allowed
        self._further = further
        self._certified = certified
        self._handlers: dict[str, Handler] = {}
        self.tasks = Tasks()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        path = handler_call_details.method
        if path.startswith("/grpc."):  # health and reflection are open to all
            return await continuation(handler_call_details)
        if path not in self._handlers:
            inner = await continuation(handler_call_details)
            if inner is None or inner.unary_unary is None:
                return inner
            self._handlers[path] = grpc.unary_unary_rpc_method_handler(
                self._guarded(path.rpartition("/")[2], inner.unary_unary),
                inner.request_deserializer,
                inner.response_serializer,
            )
        return self._handlers[path]

    def _guarded(self, name: str, method: Method) -> Method:
        async def call(request: Message, context: Any) -> Message:
            started = time.perf_counter()
            try:
                answer = await self._admit(name, method, request, context)
            except Exception as failure:  # noqa: BLE001 - told to the caller, logged if a fault
                status = _told(name, failure)
                code = code_pb2.Code.Name(status.code)
                _observe(name, code, started)
                details = (DETAILS_KEY, status.SerializeToString())
                await context.abort(_CODES[status.code], status.message, (details, _NO_RETRY))
            _observe(name, "OK", started)
            return answer

        return call

    async def _admit(self, name: str, method: Method, request: Message, context: Any) -> Message:
        left_s = context.time_remaining()
        if left_s is None:
            raise Invalid("this call needs a deadline")
        metadata = {key: value for key, value in context.invocation_metadata() or ()}
        telemetry.begin(metadata)
        asking = self._authenticate(
            metadata, _certified_names(context) if self._certified else None
        )
        if asking.party not in self._allowed.get(name, frozenset()):
            who = f"the service {asking.id}" if asking.role == "service" else f"a {asking.role}"
            raise Forbidden(f"{who} may not call {name}")
        validated(request, self._further.get(name))
        _caller.set(asking)
        with pymongo.timeout(min(TIMEOUT_S, max(left_s, 0.001))):
            run = partial(_run, method, request, context)
            task = self.tasks.start(read(run) if name.startswith(READS) else run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(partial(_left_alone, name))  # nobody else hears of its faults
            raise

    def _authenticate(self, metadata: Mapping[str, str], names: Set[str] | None) -> Caller:
        """Returns who asks; `names` are the peer's by its certificate, None without mutual TLS."""
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("send your token as metadata `authorization: Bearer <token>`")
        asking = self._tokens.caller(token)
        bearers = {asking.id} if asking.role == "service" else _BEARERS
        if names is not None and names.isdisjoint(bearers):
            raise Forbidden("this token is not for the name in the caller's certificate")
        if asking.scopes:
            raise Forbidden("this token is for the REST API, which knows its scopes")
        if asking == Caller(GATEWAY, "service"):
            _client.set(Client(metadata.get(ADDRESS_KEY, ""), metadata.get(AGENT_KEY, "")))
        speaks_for = metadata.get(SPEAKS_FOR_KEY, "")
        if not speaks_for:
            return asking
        if asking != Caller(GATEWAY, "service"):
            raise Forbidden("only the gateway may speak for a user")
        return spoken_for(speaks_for)


def speaking_for(caller: Caller) -> str:
    """Returns what the gateway writes under SPEAKS_FOR_KEY."""
    scopes = " ".join(sorted(caller.scopes))
    return f"{caller.id}:{caller.role}:{caller.session}:{scopes}"


def spoken_for(text: str) -> Caller:
    """Returns the user of whom `speaking_for` tells; raises Invalid."""
    user_id, role, session, scopes = (*text.split(":", 3), "", "", "")[:4]
    if not is_id(user_id) or role not in ("customer", "admin") or (session and not is_id(session)):
        raise Invalid(f"{SPEAKS_FOR_KEY} must be `<user id>:<role>:<session id>:<scopes>`")
    granted = frozenset(scopes.split())
    return Caller(user_id, "admin" if role == "admin" else "customer", session, granted)


def _certified_names(context: Any) -> frozenset[str]:
    return frozenset(name.decode() for name in context.auth_context().get(_NAMES_KEY, ()))


async def _run(method: Method, request: Message, context: Any) -> Message:
    return await method(request, context)


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def _left_alone(name: str, task: asyncio.Task[Message]) -> None:
    failure = None if task.cancelled() else task.exception()
    if failure is not None:
        _told(name, failure)


def _told(name: str, failure: BaseException) -> Any:
    if understood(failure) is None:
        log.error("call failed", method=name, exc_info=failure)
    return status_of(failure)


def _observe(name: str, code: str, started: float) -> None:
    telemetry.RPC_SECONDS.labels(name, code).observe(time.perf_counter() - started)


def _path(path: Any) -> str:
    """Returns a protovalidate field path as `items[0].quantity`."""
    text = ""
    for element in path.elements if path is not None else ():
        text += ("." if text else "") + element.field_name
        if element.subscript is not None and element.subscript.field == "index":
            text += f"[{element.subscript.value}]"
    return text

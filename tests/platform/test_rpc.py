"""The guard at the door, and refusals on their way there and back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from mercato.kernel import errors
from mercato.kernel.identity import Caller, Party, new_id
from mercato.pb import order_pb2 as pb
from mercato.pb.order_pb2_grpc import (
    OrderServiceServicer,
    OrderServiceStub,
    add_OrderServiceServicer_to_server,
)
from mercato.platform.rpc import Channels, Server, caller, refusal_of, status_of
from mercato.platform.rpc.refusals import STATUS, Refused
from mercato.platform.tokens import Tokens

SERVICE = pb.DESCRIPTOR.services_by_name["OrderService"]
TOKENS = Tokens("t" * 40)
USER = Caller(new_id(), "customer")
ORDER = new_id()
ALLOWED: dict[str, frozenset[Party]] = {
    **{method.name: frozenset({"gateway"}) for method in SERVICE.methods},
    "GetOrder": frozenset({"customer", "admin", "gateway", "order"}),
    "CreateOrder": frozenset({"customer", "admin"}),
}
SECRET = "mongodb://user:hush@host"


class Answering(OrderServiceServicer):
    """Answers `GetOrder` with who asked; does in it what a test says."""

    def __init__(self) -> None:
        self.does: Callable[[], Any] | None = None

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.Order:
        if self.does:
            await self.does()
        return pb.Order(id=request.id, user_id=caller().id, reason=caller().role)

    async def CreateOrder(self, request: Any, context: Any) -> pb.CreateOrderResponse:
        return pb.CreateOrderResponse()

    async def _other(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    BatchCreateOrders = BatchGetOrders = GetOrderHistory = _other
    ListUserOrders = UpdateOrderStatus = _other


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[Answering, str]]:
    answering = Answering()
    server = Server([SERVICE], TOKENS, ALLOWED)
    add_OrderServiceServicer_to_server(answering, server.grpc)
    async with server.listen("127.0.0.1", 0) as port:
        yield answering, f"127.0.0.1:{port}"


@pytest.fixture
async def answering(served: tuple[Answering, str]) -> Answering:
    served[0].does = None
    return served[0]


@pytest.fixture(scope="module")
async def stub(served: tuple[Answering, str]) -> AsyncIterator[OrderServiceStub]:
    async with Channels(TOKENS, "gateway").open(served[1]) as channel:
        yield OrderServiceStub(channel)


async def call(
    stub: OrderServiceStub, request: Message | None = None, *, as_: Caller | None = None,
    service: str = "gateway", deadline_s: float = 3.0,
) -> Any:  # fmt: skip
    channels = Channels(TOKENS, service)
    wish = request or pb.GetOrderRequest(id=ORDER)
    method: Any = stub.CreateOrder if isinstance(wish, pb.CreateOrderRequest) else stub.GetOrder
    return await channels.call(method, wish, speaks_for=as_, deadline_s=deadline_s)


async def raw(stub: OrderServiceStub, *metadata: tuple[str, str], timeout: float | None = 3) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.GetOrder(pb.GetOrderRequest(id=ORDER), timeout=timeout, metadata=metadata)
    return failure.value


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


async def test_a_caller_is_known_by_their_token_or_by_the_gateways_word(
    answering: Answering, stub: OrderServiceStub
) -> None:
    assert (await call(stub)).reason == "service"
    assert (await call(stub, as_=USER)).user_id == USER.id
    own = (bearer(TOKENS.access(USER.id, "admin")),)
    answer = await stub.GetOrder(pb.GetOrderRequest(id=ORDER), timeout=3, metadata=own)
    assert (answer.user_id, answer.reason) == (USER.id, "admin")


async def test_a_call_needs_a_deadline(stub: OrderServiceStub) -> None:
    failure = await raw(stub, bearer(TOKENS.service("gateway")), timeout=None)
    assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "deadline" in failure.details()


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic x", "Bearer nonsense"])
async def test_a_call_needs_a_token(stub: OrderServiceStub, authorization: str) -> None:
    failure = await raw(stub, ("authorization", authorization))
    assert failure.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_only_the_gateway_may_speak_for_users(stub: OrderServiceStub) -> None:
    with pytest.raises(Refused, match="only the gateway"):
        await call(stub, as_=USER, service="order")
    named = TOKENS.access("gateway", "admin")  # a user who happens to have this name
    failure = await raw(stub, bearer(named), ("x-caller", f"{USER.id}:admin"))
    assert failure.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "whom", ["a:customer", "x", f"{USER.id}:service", f"{USER.id}:", f"{USER.id}"]
)
async def test_the_gateway_can_speak_for_users_only(stub: OrderServiceStub, whom: str) -> None:
    failure = await raw(stub, bearer(TOKENS.service("gateway")), ("x-caller", whom))
    assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_role_that_is_not_named_is_refused(stub: OrderServiceStub) -> None:
    channels, method = Channels(TOKENS, "gateway"), stub.BatchGetOrders
    with pytest.raises(Refused) as refused:
        await channels.call(method, pb.BatchGetOrdersRequest(), speaks_for=USER)
    assert refused.value.slug == "forbidden"


def test_a_method_without_callers_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="GetOrder"):
        Server([SERVICE], TOKENS, {})


async def test_every_bad_field_is_named(stub: OrderServiceStub) -> None:
    items = [pb.OrderItem(product_id="x", quantity=0) for _ in range(100)]
    for _ in range(20):
        with pytest.raises(Refused) as refused:
            await call(stub, pb.CreateOrderRequest(user_id="me", items=items), as_=USER)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    fields = [violation.field for violation in refused.value.violations]
    assert len(fields) == 201
    assert {"user_id", "items[0].product_id", "items[99].quantity"} <= set(fields)


async def test_a_fault_of_ours_is_told_without_its_text(
    answering: Answering, stub: OrderServiceStub
) -> None:
    async def fail() -> None:
        raise RuntimeError(SECRET)

    answering.does = fail
    failure = await raw(stub, bearer(TOKENS.service("order")))
    assert failure.code() is grpc.StatusCode.INTERNAL
    assert "hush" not in f"{failure.details()}{failure.debug_error_string()}"
    assert "hush" not in str(failure.trailing_metadata())


@pytest.mark.parametrize("kind", errors.KINDS)
async def test_a_refusal_comes_through_as_it_was(
    answering: Answering, stub: OrderServiceStub, kind: type[errors.AppError]
) -> None:
    class LampMissing(kind):  # type: ignore[misc, valid-type]
        """For this test."""

    async def refuse() -> None:
        raise LampMissing("no lamp — ü", [errors.Violation("a[0].b", "is — not")])

    answering.does = refuse
    with pytest.raises(Refused) as refused:
        await call(stub)
    assert refused.value.code is STATUS[kind]
    assert refused.value.slug == "lamp-missing"
    assert refused.value.detail == "no lamp — ü"
    assert refused.value.violations == (errors.Violation("a[0].b", "is — not"),)
    again = refusal_of(status_of(refused.value))  # and on to the next service
    assert (again.code, again.slug, again.detail) == (STATUS[kind], "lamp-missing", "no lamp — ü")


def test_every_kind_of_refusal_has_its_status() -> None:
    assert set(STATUS) == set(errors.KINDS)
    assert len(set(STATUS.values())) == len(STATUS)
    assert status_of(errors.AppError("bare")).code == grpc.StatusCode.INTERNAL.value[0]
    assert refusal_of(status_pb2.Status(code=14, message="m")).slug == "unavailable"


TRANSIENT = {"errorLabels": ["TransientTransactionError"]}


@pytest.mark.parametrize(
    "failure",
    [
        AutoReconnect("x"), NetworkTimeout("x"), ServerSelectionTimeoutError("x"),
        NotPrimaryError("x"), ExecutionTimeout("x"), OperationFailure("x", 112, TRANSIENT),
        OperationFailure("x", 251, TRANSIENT), OperationFailure("interrupted", 11600),
        OperationFailure("stepped down", 189), OperationFailure("not yet", 134),
        OperationFailure("write conflict", 112),
        BulkWriteError({"errorLabels": ["RetryableWriteError"]}),
    ],
    ids=repr,
)  # fmt: skip
def test_a_database_that_is_away_is_no_fault_of_ours(failure: Exception) -> None:
    status = status_of(failure)
    assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert "x" not in status.message.split()


def test_a_mistake_in_the_database_is_ours() -> None:
    assert status_of(OperationFailure("bad query", 2)).code == grpc.StatusCode.INTERNAL.value[0]
    assert status_of(BulkWriteError({})).code == grpc.StatusCode.INTERNAL.value[0]


@pytest.mark.parametrize("way", ["deadline", "gone"])
async def test_a_write_goes_on_without_its_caller(
    answering: Answering, stub: OrderServiceStub, way: str
) -> None:
    done = asyncio.Event()

    async def write() -> None:
        await asyncio.sleep(0.4)
        done.set()

    answering.does = write
    calling = asyncio.ensure_future(call(stub, deadline_s=0.15 if way == "deadline" else 3))
    await asyncio.sleep(0.1)
    if way == "gone":
        calling.cancel()
    with pytest.raises((Refused, asyncio.CancelledError)):
        await calling
    async with asyncio.timeout(3):
        await done.wait()


async def test_health_and_reflection_are_open_to_all(served: tuple[Answering, str]) -> None:
    async with grpc.aio.insecure_channel(served[1]) as channel:
        checking: Any = health_pb2_grpc.HealthStub(channel)
        wish = health_pb2.HealthCheckRequest(service="order.OrderService")
        health = await checking.Check(wish, timeout=3)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        reflecting: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        stream = reflecting.ServerReflectionInfo(iter([asked]), timeout=3)
        names = [each.name async for a in stream for each in a.list_services_response.service]
        assert "order.OrderService" in names


async def test_a_port_that_is_taken_is_said_so(served: tuple[Answering, str]) -> None:
    roles = {method.name: frozenset[Any]() for method in SERVICE.methods}
    with pytest.raises(OSError, match="taken"):
        async with Server([SERVICE], TOKENS, roles).listen(
            "127.0.0.1", int(served[1].split(":")[1])
        ):
            pass


async def test_a_server_that_stops_finishes_what_it_began() -> None:
    answering = Answering()
    server = Server([SERVICE], TOKENS, ALLOWED)
    add_OrderServiceServicer_to_server(answering, server.grpc)
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.sleep(0.5)

    answering.does = work
    async with server.listen("127.0.0.1", 0) as port:
        channels = Channels(TOKENS, "order")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        method = OrderServiceStub(channel).GetOrder
        calling = asyncio.ensure_future(channels.call(method, pb.GetOrderRequest(id=ORDER)))
        await began.wait()
    assert (await calling).id == ORDER
    await channel.close()

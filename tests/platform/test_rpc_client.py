"""Whose request a call carries on: told by the gateway, and believed of nobody else."""

from typing import Any

from mercato.kernel.client import Client
from mercato.kernel.identity import Party, new_id
from mercato.pb import order_pb2 as pb
from mercato.pb.order_pb2_grpc import (
    OrderServiceServicer,
    OrderServiceStub,
    add_OrderServiceServicer_to_server,
)
from mercato.platform.rpc import Channels, Server, carry, client_of_call
from mercato.platform.tasks import Tasks
from mercato.platform.tokens import Tokens

SERVICE = pb.DESCRIPTOR.services_by_name["OrderService"]
TOKENS = Tokens("t" * 40)
PARTIES: frozenset[Party] = frozenset(("admin", "gateway", "order"))


class Looking(OrderServiceServicer):
    """Remembers each call's client."""

    def __init__(self) -> None:
        self.seen: list[Client] = []

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.Order:
        self.seen.append(client_of_call())
        return pb.Order(id=request.id)

    async def _other(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    BatchCreateOrders = BatchGetOrders = CreateOrder = GetOrderHistory = _other
    ListUserOrders = UpdateOrderStatus = _other


async def test_only_the_gateway_is_believed_about_the_client() -> None:
    looking = Looking()
    server = Server([SERVICE], TOKENS, {method.name: PARTIES for method in SERVICE.methods})
    add_OrderServiceServicer_to_server(looking, server.grpc)
    request = pb.GetOrderRequest(id=new_id())

    async def for_a_client(service: str) -> None:
        carry(Client("192.0.2.7", "curl/8"))
        await Channels(TOKENS, service).call(stub.GetOrder, request)

    async with (
        server.listen("127.0.0.1", 0) as port,
        Channels(TOKENS, "gateway").open(f"127.0.0.1:{port}", "order") as channel,
    ):
        stub, tasks = OrderServiceStub(channel), Tasks()
        await tasks.start(for_a_client("gateway"))
        await tasks.start(for_a_client("order"))
        token = TOKENS.access(new_id(), "admin")
        told = (("x-client-address", "192.0.2.7"), ("authorization", f"Bearer {token}"))
        await stub.GetOrder(request, timeout=3, metadata=told)
        await Channels(TOKENS, "gateway").call(stub.GetOrder, request)
    assert looking.seen == [Client("192.0.2.7", "curl/8"), Client(), Client(), Client()]

"""Hand-written services behind real sockets: what the gateway talks to in its own tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FileDescriptor

from mercato.pb import (
    inventory_pb2,
    inventory_pb2_grpc,
    mailer_pb2,
    mailer_pb2_grpc,
    order_pb2,
    order_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from mercato.platform.rpc import Server
from mercato.platform.tokens import Tokens
from tests.gateway.fakes.inventory import FakeInventory
from tests.gateway.fakes.mailer import FakeMailer
from tests.gateway.fakes.orders import FakeOrders
from tests.gateway.fakes.service import ALL
from tests.gateway.fakes.users import FakeUsers


@dataclass
class Services:
    """The four fakes, and where they listen."""

    users: FakeUsers
    inventory: FakeInventory
    orders: FakeOrders
    mailer: FakeMailer
    targets: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def services(tokens: Tokens) -> AsyncIterator[Services]:
    inventory = FakeInventory()
    orders, mailer = FakeOrders(inventory=inventory), FakeMailer()
    fakes = Services(FakeUsers(tokens=tokens), inventory, orders, mailer)
    served: list[tuple[FileDescriptor, Callable[[Any, Any], None], object]] = [
        (user_pb2.DESCRIPTOR, user_pb2_grpc.add_UserServiceServicer_to_server, fakes.users),
        (
            inventory_pb2.DESCRIPTOR,
            inventory_pb2_grpc.add_InventoryServiceServicer_to_server,
            inventory,
        ),
        (order_pb2.DESCRIPTOR, order_pb2_grpc.add_OrderServiceServicer_to_server, orders),
        (mailer_pb2.DESCRIPTOR, mailer_pb2_grpc.add_MailerServiceServicer_to_server, mailer),
    ]
    async with AsyncExitStack() as stack:
        for descriptor, add, fake in served:
            (service,) = descriptor.services_by_name.values()
            server = Server([service], tokens, {method.name: ALL for method in service.methods})
            add(fake, server.grpc)
            port = await stack.enter_async_context(server.listen("127.0.0.1", 0))
            fakes.targets[f"{descriptor.package}_service"] = f"127.0.0.1:{port}"
        yield fakes

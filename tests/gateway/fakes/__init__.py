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
    session_pb2,
    session_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from mercato.platform.rpc import Server
from mercato.platform.tokens import Tokens
from mercato.user.handler.sessions import SessionHandler
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
    users = FakeUsers(tokens=tokens)
    fakes = Services(users, inventory, orders, mailer)
    sessions = SessionHandler(users.sessions)
    served: dict[str, list[tuple[FileDescriptor, Callable[[Any, Any], None], object]]] = {
        "user": [
            (user_pb2.DESCRIPTOR, user_pb2_grpc.add_UserServiceServicer_to_server, users),
            (
                session_pb2.DESCRIPTOR,
                session_pb2_grpc.add_SessionServiceServicer_to_server,
                sessions,
            ),
        ],
        "inventory": [
            (
                inventory_pb2.DESCRIPTOR,
                inventory_pb2_grpc.add_InventoryServiceServicer_to_server,
                inventory,
            )
        ],
        "order": [
            (order_pb2.DESCRIPTOR, order_pb2_grpc.add_OrderServiceServicer_to_server, orders)
        ],
        "mailer": [
            (mailer_pb2.DESCRIPTOR, mailer_pb2_grpc.add_MailerServiceServicer_to_server, mailer)
        ],
    }
    async with AsyncExitStack() as stack:
        for name, parts in served.items():
            known = [each for file, *_ in parts for each in file.services_by_name.values()]
            allowed = {method.name: ALL for service in known for method in service.methods}
            server = Server(known, tokens, allowed)
            for _, add, fake in parts:
                add(fake, server.grpc)
            port = await stack.enter_async_context(server.listen("127.0.0.1", 0))
            fakes.targets[f"{name}_service"] = f"127.0.0.1:{port}"
        yield fakes

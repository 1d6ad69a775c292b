"""G19 over gRPC: every method of every service by every party, whatever its handler would say.

A new method needs a line in `METHODS`, or this fails.
"""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from mercato import pb
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import SERVICES, new_id
from tests.security.parties import Minting

PEOPLE: Final = frozenset({"customer", "admin"})
ANYBODY: Final = PEOPLE | {"gateway"}
GATEWAY: Final = frozenset({"gateway"})
OPERATOR: Final = frozenset({"cli"})
KEEPERS: Final = frozenset({"admin"})

METHODS: Final[dict[str, frozenset[str]]] = {
    "user.UserService/RegisterUser": ANYBODY | OPERATOR,
    "user.UserService/AuthenticateUser": ANYBODY,
    "user.UserService/GetUserProfile": ANYBODY,
    "user.UserService/UpdateUserProfile": PEOPLE,
    "user.UserService/BatchGetUserProfiles": frozenset({"order"}),
    "user.AccountService/VerifyEmail": ANYBODY,
    "user.AccountService/ForgotPassword": ANYBODY,
    "user.AccountService/ResetPassword": ANYBODY,
    "user.AccountService/ResendVerification": PEOPLE,
    "user.AccountService/BeginTotp": PEOPLE,
    "user.AccountService/ConfirmTotp": PEOPLE,
    "user.AccountService/EndTotp": PEOPLE,
    "user.SessionService/RefreshSession": GATEWAY,
    "user.SessionService/ListSessions": PEOPLE,
    "user.SessionService/EndSession": PEOPLE,
    "user.SessionService/EndAllSessions": PEOPLE,
    "user.SessionService/ListRevocations": GATEWAY,
    "user.OAuthService/GetAuthorizationPage": GATEWAY,
    "user.OAuthService/LogInToAuthorize": GATEWAY,
    "user.OAuthService/DecideAuthorization": GATEWAY,
    "user.OAuthService/ExchangeGrant": GATEWAY,
    "user.OAuthService/RevokeToken": GATEWAY,
    "user.OAuthService/IntrospectToken": GATEWAY,
    "user.OAuthService/AddOAuthClient": OPERATOR,
    "user.OAuthService/ListOAuthClients": OPERATOR,
    "user.OAuthService/RemoveOAuthClient": OPERATOR,
    "user.OAuthService/StartProviderSignIn": GATEWAY,
    "user.OAuthService/FinishProviderSignIn": GATEWAY,
    "user.OAuthService/ExchangeSignInCode": GATEWAY,
    "user.SecurityService/RecordEvents": GATEWAY | OPERATOR,
    "user.SecurityService/ListEvents": KEEPERS | OPERATOR,
    "inventory.InventoryService/CreateProduct": KEEPERS,
    "inventory.InventoryService/GetProduct": ANYBODY,
    "inventory.InventoryService/UpdateProduct": KEEPERS,
    "inventory.InventoryService/DeleteProduct": KEEPERS,
    "inventory.InventoryService/ListProducts": ANYBODY,
    "inventory.InventoryService/BatchGetProducts": ANYBODY | {"order"},
    "inventory.InventoryService/BatchUpsertProducts": KEEPERS | OPERATOR,
    "inventory.InventoryService/AdjustStock": KEEPERS,
    "inventory.InventoryService/GetReservation": KEEPERS | {"order"},
    "order.OrderService/CreateOrder": PEOPLE,
    "order.OrderService/GetOrder": PEOPLE,
    "order.OrderService/UpdateOrderStatus": PEOPLE,
    "order.OrderService/ListUserOrders": PEOPLE,
    "order.OrderService/GetOrderHistory": PEOPLE,
    "order.OrderService/BatchCreateOrders": GATEWAY,
    "order.OrderService/BatchGetOrders": GATEWAY,
    "mailer.MailerService/SendEmail": KEEPERS,
    "mailer.MailerService/QueueMails": frozenset({"user", "order"}),
}


REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True)
class Method:
    """One method, by its full name, and the service that serves it."""

    name: str
    descriptor: MethodDescriptor

    def __str__(self) -> str:
        return self.name


def methods() -> Iterator[Method]:
    for module in pkgutil.iter_modules(pb.__path__):
        if not module.name.endswith("_pb2") or module.name == "validate_pb2":
            continue
        file = importlib.import_module(f"mercato.pb.{module.name}").DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                yield Method(f"{service.full_name}/{method.name}", method)


ALL: Final = list(methods())


@pytest.fixture(scope="session")
def parties(tokens: Minting) -> dict[str, str]:
    """Returns everybody who might call, each with a good token of their own kind."""
    scoped = tokens.access(new_id(), "admin", scopes=["openid"], client_id="elsewhere")
    return {
        "no token": "", "nonsense": "a.b.c", "another service": tokens.service("stranger"),
        "a client": tokens.client(new_id(), ["catalogue:write"]), "a scoped token": scoped,
        "customer": tokens.access(new_id(), "customer"), "admin": tokens.access(new_id(), "admin"),
        **{name: tokens.service(name) for name in SERVICES},
    }  # fmt: skip


@pytest.fixture(scope="session")
async def channels(platform: Platform) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    services = ("user", "inventory", "order", "mailer")
    targets = {name: platform.environment[f"{name.upper()}_SERVICE"] for name in services}
    opened = {name: grpc.aio.insecure_channel(target) for name, target in targets.items()}
    yield opened
    for channel in opened.values():
        await channel.close()


async def code_of(channel: grpc.aio.Channel, method: Method, token: str) -> grpc.StatusCode:
    """Returns what comes of an empty request by the bearer of `token`."""
    call: Any = channel.unary_unary(
        f"/{method.name}", request_serializer=lambda message: message.SerializeToString()
    )
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        await call(GetMessageClass(method.descriptor.input_type)(), timeout=10, metadata=metadata)
    except grpc.aio.AioRpcError as failure:
        return failure.code()
    return grpc.StatusCode.OK


def test_every_method_is_in_the_matrix() -> None:
    assert {method.name for method in ALL} == set(METHODS)
    assert len(ALL) >= 49


@pytest.mark.parametrize("method", ALL, ids=str)
async def test_a_method_lets_in_only_who_may_call_it(
    channels: dict[str, grpc.aio.Channel], parties: dict[str, str], method: Method
) -> None:
    channel = channels[method.name.partition(".")[0]]
    codes = {who: await code_of(channel, method, token) for who, token in parties.items()}
    admitted = {who for who, code in codes.items() if code not in REFUSED}
    assert admitted == METHODS[method.name]
    for who, code in codes.items():
        assert (code is grpc.StatusCode.UNAUTHENTICATED) == (who in ("no token", "nonsense"))

"""A platform with the user service alone, and callers of every kind."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import Caller
from mercato.pb import user_pb2 as pb
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform.mongo import Store
from mercato.platform.rpc import Channels
from mercato.platform.tokens import Tokens
from tests.minting import minting

PASSWORD = "correct horse battery"
ADMIN = Caller("f" * 24, "admin")

_numbers = itertools.count(1)


def fresh_email() -> str:
    return f"shopper{next(_numbers)}@example.com"


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


class Client:
    """Calls the user service as the gateway does; `as_` says for whom, `service` by which name."""

    def __init__(self, stub: UserServiceStub, tokens: Tokens) -> None:
        self.stub = stub
        self.tokens = tokens
        self._channels = {name: Channels(tokens, name) for name in ("gateway", "cli", "order")}

    async def call(
        self,
        method: str,
        request: Any,
        as_: Caller | None = None,
        service: str = "gateway",
        deadline_s: float = 10,
    ) -> Any:
        channels = self._channels[service]
        stub = getattr(self.stub, method)
        return await channels.call(stub, request, speaks_for=as_, deadline_s=deadline_s)

    async def register(self, email: str = "", *, service: str = "gateway", **fields: str) -> Caller:
        """Registers somebody and returns who it is."""
        fields = {"password": PASSWORD, "email": email or fresh_email()} | fields
        answer = await self.call("RegisterUser", pb.UserRequest(**fields), service=service)
        return Caller(answer.id, "admin" if fields.get("role") == "admin" else "customer")

    async def login(self, password: str = PASSWORD, **login: str) -> pb.AuthResponse:
        request = pb.AuthRequest(password=password, **login)
        answer: pb.AuthResponse = await self.call("AuthenticateUser", request)
        return answer

    async def profile(self, user_id: str, as_: Caller | None = None) -> pb.UserProfile:
        request = pb.UserID(id=user_id)
        answer: pb.UserProfile = await self.call("GetUserProfile", request, as_)
        return answer

    async def update(self, user_id: str, as_: Caller, **fields: str) -> pb.UserProfile:
        request = pb.UpdateProfileRequest(id=user_id, **fields)
        answer: pb.UserProfile = await self.call("UpdateUserProfile", request, as_)
        return answer


@pytest.fixture(scope="session")
async def user_platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    folder = tmp_path_factory.mktemp("user")
    given = Given(smtp_host="127.0.0.1", smtp_port="9")  # nobody sends a mail here
    async with Platform.open(folder, services=("user",), given=given) as platform:
        yield platform


@pytest.fixture(scope="session")
async def store(user_platform: Platform) -> AsyncIterator[Store]:
    environment = user_platform.environment
    async with Store.open(environment["MONGO_URI"], environment["MONGO_DB_NAME"]) as store:
        yield store


@pytest.fixture(scope="session")
async def redis(user_platform: Platform) -> AsyncIterator[Redis]:
    host, port = user_platform.environment["REDIS_ADDR"].split(":")
    async with Redis(host=host, port=int(port), protocol=2, decode_responses=True) as redis:
        yield redis


@pytest.fixture(scope="session")
def tokens(user_platform: Platform) -> Tokens:
    return minting(user_platform)


@pytest.fixture(scope="session")
async def client(user_platform: Platform, tokens: Tokens) -> AsyncIterator[Client]:
    async with Channels(tokens, "gateway").open(user_platform.environment["USER_SERVICE"]) as way:
        yield Client(UserServiceStub(way), tokens)

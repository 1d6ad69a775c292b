"""How a command reaches the platform: the one that runs here, or the one the environment names."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message
from grpc.aio import Channel

from mercato.embedded import state
from mercato.embedded.errors import NotRunning
from mercato.platform.rpc import Channels, Identity
from mercato.platform.settings import Settings, environment_with_dotenv, load
from mercato.platform.tokens import Tokens

# The name under which the user service knows the operator, who may appoint an admin.
CALLER = "cli"
# Who names one of these means a platform elsewhere.
ADDRESSED = {"MONGO_URI", "USER_SERVICE", "INVENTORY_SERVICE", "JWT_SECRET", "JWT_SECRET_FILE"}
ELSEWHERE = "or name another folder with --data-dir, or give the settings of a platform elsewhere"
S = TypeVar("S", bound=Settings)
T = TypeVar("T")


def found(shape: type[S], data_dir: Path) -> S:
    """The settings of the platform that runs on `data_dir`, else those of the environment.

    Raises NotRunning when there is neither, SettingsError when they will not do.
    """
    try:
        return load(shape, state.running(data_dir).environment)
    except NotRunning as nobody:
        if ADDRESSED.isdisjoint(environment_with_dotenv()):
            raise NotRunning(str(nobody), f"{nobody.remedy}; {ELSEWHERE}") from None
    return load(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop(Settings):
    """Where the services are, and the secret that they know us by."""

    user_service: str = "127.0.0.1:50053"
    inventory_service: str = "127.0.0.1:50051"

    @classmethod
    def of(cls, data_dir: Path) -> "Shop":
        """The platform that runs on `data_dir`, else the one of the environment's variables."""
        return found(cls, data_dir)

    def channels(self) -> Channels:
        return Channels(Tokens(self.jwt_secret), CALLER, Identity.of(self))

    async def call(
        self, method: Callable[[Channel], Callable[..., Awaitable[T]]], request: Message
    ) -> T:
        """Calls the method of the user service that `method` finds on a channel to it."""
        channels = self.channels()
        async with channels.open(self.user_service, "user") as channel:
            return await channels.call(method(channel), request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What must be known to read a price, with or without a platform."""

    currency: str = "EUR"

    @classmethod
    def of(cls, data_dir: Path) -> "Prices":
        """The currency of the platform that runs on `data_dir`, else of the environment."""
        known = state.read(data_dir)
        return load(cls, known.environment if known and known.alive else None)

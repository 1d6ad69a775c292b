"""How a command reaches the platform: the one that runs here, or the one the environment names."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mercato.embedded import state
from mercato.embedded.errors import NotRunning, PlatformError
from mercato.platform.rpc import Channels, Identity
from mercato.platform.settings import Settings, SettingsError, load
from mercato.platform.tokens import Tokens

# The name under which the user service knows the operator, who may appoint an admin.
CALLER = "cli"
S = TypeVar("S", bound=Settings)


def found(shape: type[S], data_dir: Path) -> S:
    """The settings of the platform that runs on `data_dir`, else those of the environment.

    Raises PlatformError when there is neither, SettingsError when the platform's will not do.
    """
    try:
        return load(shape, state.running(data_dir).environment)
    except NotRunning as nobody:
        try:
            return load(shape)
        except SettingsError as problem:
            raise PlatformError(
                f"{nobody}, and for one elsewhere {problem}", nobody.remedy
            ) from None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What must be known to read a price, with or without a platform."""

    currency: str = "EUR"

    @classmethod
    def of(cls, data_dir: Path) -> "Prices":
        """The currency of the platform that runs on `data_dir`, else of the environment."""
        known = state.read(data_dir)
        return load(cls, known.environment if known and known.alive else None)

"""What the embedded runtime is told by the environment, a `.env` file or the supervisor."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mercato.platform.settings import Currency, Level, RedisDb, Secret

# Limits that are on, and that a storm, a benchmark or the tests do not meet: one machine is one
# client to them.
_CLASSES: Final = ("LOGIN", "REGISTER", "RESET", "TOKEN", "ORDER", "WRITE", "READ", "ATTEMPTS")
WIDE_LIMITS: Final[Mapping[str, str]] = {f"RATE_LIMIT_{n}": "1000000/60s" for n in _CLASSES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Servers of yours, to be used instead of ours, and how to talk to them; empty: not given."""

    mongo_uri: Secret = Secret("")
    mongo_db_name: str = "ecommerce"
    redis_addr: str = ""
    redis_password: Secret = Secret("")
    redis_db: RedisDb = 0
    nats_url: Secret = Secret("")
    smtp_host: str = ""
    smtp_port: str = ""
    smtp_username: str = ""
    smtp_password: Secret = Secret("")
    smtp_tls: str = ""
    smtp_from: str = ""
    mailbox_api: str = ""
    jwt_secret: Secret = Secret("")
    public_url: str = ""
    currency: Currency = ""
    log_level: Level | None = None

    def environment(self) -> dict[str, str]:
        """The variables to hand on, those that are given."""
        values = dataclasses.asdict(self)
        return {
            name.upper(): str(value) for name, value in values.items() if value not in ("", None)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the gateway listens unless it is told on the command line; 0 for any free port."""

    port: int = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSettings:
    """Where the mailbox listens (loopback ports) and where it keeps its messages."""

    port: int
    smtp_port: int
    mailbox_dir: str

"""One server or service of the platform: how it is started, and how one sees that it works."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path


class Tier(IntEnum):
    """Services start when every server is ready; parts stop from the highest tier down."""

    SERVER = 0
    SERVICE = 1
    GATEWAY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`answers` says whether it does its work now; `home` is the folder with all its data.

    `niceness` (0 to 19) puts it behind others where they share few cores: mails wait for orders.
    """

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, int]
    answers: Callable[[], Awaitable[bool]]
    tier: Tier = Tier.SERVER
    environment: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None
    niceness: int = 0


def serve(name: str) -> tuple[str, ...]:
    """The command that runs one of our own processes (-P: never from the current folder)."""
    return (sys.executable, "-P", "-m", "mercato", "serve", name)

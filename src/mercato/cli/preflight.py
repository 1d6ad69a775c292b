"""Whether every service can read its environment, asked before anything of it starts."""

import dataclasses
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Final

from mercato.audit.settings import AuditSettings
from mercato.embedded.plan import PLANNED, RPC_SERVICES
from mercato.embedded.ports import LOOPBACK
from mercato.embedded.secure.mode import PLAIN
from mercato.embedded.settings import Door, Given
from mercato.gateway.settings import GatewaySettings
from mercato.inventory.settings import InventorySettings
from mercato.mailer.settings import MailerSettings
from mercato.order.settings import OrderSettings
from mercato.platform.settings import Settings, SettingsError, environment_with_dotenv, load
from mercato.user.settings import UserSettings

SHAPES: Final[Mapping[str, type[Settings]]] = {
    "user": UserSettings,
    "inventory": InventorySettings,
    "order": OrderSettings,
    "mailer": MailerSettings,
    "gateway": GatewaySettings,
    "audit": AuditSettings,
}
# What the platform gives to its services where nothing else is given.
STANDS_IN: Final = {"JWT_SECRET": "the platform makes one of its own"}


def given(services: Iterable[str]) -> Given:
    """The servers that the environment names.

    Raises SettingsError naming every wrong setting, those of the platform and of each service.
    """
    environment = environment_with_dotenv()
    ours = [*_problems(Given, environment), *_problems(Door, environment)]
    _refuse(
        [*ours, *_not_taken(environment), *_host(environment), *_of_services(services, environment)]
    )
    return load(Given, environment)


def insist(services: Iterable[str]) -> None:
    """The same for a platform that uses no server of yours: what names one does not matter."""
    environment = environment_with_dotenv()
    theirs = {field.name.upper() for field in dataclasses.fields(Given)} - {"CURRENCY", "LOG_LEVEL"}
    _refuse(_of_services(services, {k: v for k, v in environment.items() if k not in theirs}))


def _not_taken(environment: Mapping[str, str]) -> Iterable[str]:
    """The files of yours that would be dropped: its doors are plain, or have keys of its own."""
    for name in filter(environment.get, PLAIN):
        yield f"{name}: not for mercato up, whose --secure makes its own; mercato serve takes yours"
    for name in filter(environment.get, ("JWT_KEYS_FILE", "JWT_JWKS_FILE")):
        yield f"{name}: not for mercato up, which has keys of its own; mercato serve takes yours"


def _host(environment: Mapping[str, str]) -> Iterable[str]:
    """Whether the gateway can listen there, and be asked how it is on loopback."""
    host = environment.get("HOST") or LOOPBACK
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, 0), family=family) as door:
            socket.create_connection((LOOPBACK, door.getsockname()[1]), 1).close()
    except ConnectionRefusedError:
        yield f"HOST: {host!r} leaves out {LOOPBACK}, where mercato up asks the gateway how it is"
    except (OSError, UnicodeError) as problem:
        yield f"HOST: {host!r} is no address to listen on: {problem}"


def _of_services(services: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Every problem of these services with what the platform leaves as it finds it."""
    found: list[str] = []
    for service in SHAPES.keys() & set(services):
        planned = PLANNED | ({"METRICS_PORT"} if service in RPC_SERVICES else set())
        left = {name: text for name, text in environment.items() if text and name not in planned}
        stands_in = {} if "JWT_SECRET_FILE" in left else STANDS_IN
        found += _problems(SHAPES[service], {**stands_in, **left, "MERCATO_EMBEDDED": "yes"})
    return sorted(found)


def _problems(shape: type, environment: Mapping[str, str]) -> Iterable[str]:
    try:
        load(shape, environment)
    except SettingsError as failure:
        return failure.problems
    return ()


def _refuse(problems: Iterable[str]) -> None:
    """Raises SettingsError with the first problem of each setting: services share many."""
    first: dict[str, str] = {}
    for problem in problems:
        first.setdefault(re.split(r"\W", problem, maxsplit=1)[0], problem)
    if first:
        raise SettingsError("the environment is wrong:", list(first.values()))

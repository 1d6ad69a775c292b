"""The environment, read once at the door of a process: typed, checked, all problems at once."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote

import msgspec
from dotenv import dotenv_values
from msgspec import Meta

from mercato.kernel.redaction import hide

SECRET_BYTES_MIN = 32
# The one that .env.example shows: good for a look, never for a shop.
SECRET_SHOWN = "change-me-to-at-least-32-random-bytes"  # noqa: S105

Level = Literal["debug", "info", "warning", "error"]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]  # ISO 4217
RedisDb = Annotated[int, Meta(ge=0)]
S = TypeVar("S")

PORT_MAX: Final = 65_535
_NAME: Final = r"(\[[0-9a-fA-F:.]+\]|[^@/?:,\s\[\]]+)"
_HOST: Final = _NAME + "(:[0-9]{1,5})?"
_ADDRESS: Final = re.compile(_NAME + "?:(?P<port>[0-9]{1,5})")
_IPV4: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}:\d{1,5}", re.ASCII)
_MONGO: Final = re.compile(rf"mongodb(\+srv)?://([^@/:]*(:[^@/:]*)?@)?{_HOST}(,{_HOST})*([/?]\S*)?")
_ORIGIN: Final = re.compile(rf"https?://{_HOST}")
_PAGES: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_NATS: Final = re.compile(rf"(nats|tls)://([^@/\s]+@)?{_HOST}/?")


class Secret(str):
    """A text that shows itself to nobody by accident."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class SettingsError(Exception):
    """The environment is wrong; says every problem, one a line."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join([message, *problems]))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every process of the platform may be told."""

    host: str = "127.0.0.1"  # the address to listen on; a container says 0.0.0.0
    log_level: Level = "info"
    metrics_port: int = 0  # 0: no metrics server
    mercato_embedded: bool = False
    jwt_secret: Secret
    jwt_jwks_file: str = ""  # the public keys of user tokens; empty: JWT_SECRET signs those too
    public_url: str = ""  # the shop's own address, in links and as the issuer of its tokens
    currency: Currency = "EUR"
    # Mutual TLS between the services: all three, or none and everything in the clear.
    grpc_ca_file: str = ""
    grpc_cert_file: str = ""
    grpc_key_file: str = ""

    def problems(self) -> Iterable[str]:
        """What is wrong with settings that are each well formed; each begins with the name."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings(Settings):
    """A process with a database, a cache and an event stream."""

    mongo_uri: Secret = Secret("mongodb://127.0.0.1:27017/?replicaSet=rs0")
    mongo_db_name: str = "ecommerce"
    redis_addr: str = "127.0.0.1:6379"
    redis_password: Secret = Secret("")
    redis_db: RedisDb = 0
    cache_ttl_s: Annotated[int, Meta(ge=1)] = 300
    nats_url: Secret = Secret("nats://127.0.0.1:4222")


def load(shape: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Returns `shape` filled from the environment, a `.env` file and `NAME_FILE` secrets.

    The environment goes before `.env`; a variable that is set but empty counts as absent.
    Raises SettingsError naming every problem.
    """
    given = environment if environment is not None else environment_with_dotenv()
    problems: list[str] = []
    values: dict[str, Any] = {}
    hints = get_type_hints(shape, include_extras=True)
    needed: set[str] = set()
    for each in dataclasses.fields(shape):  # type: ignore[arg-type]
        name = each.name.upper()
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            needed.add(each.name)
        try:
            text = _text(name, given)
            if text is not None:
                values[each.name] = _convert(text, hints[each.name])
                _check_form(name, text)
            elif each.name in needed:
                problems.append(f"{name} is missing")
        except (ValueError, OSError) as problem:
            problems.append(f"{name}: {problem}")
    if issubclass(shape, Settings):
        problems += _secret_problems(values)
    made = shape(**values) if needed <= values.keys() else None  # else, the default
    problems += made.problems() if isinstance(made, Settings) else ()
    if made is None or problems:
        raise SettingsError("the environment is wrong:", problems)
    hide(part for value in values.values() if isinstance(value, Secret) for part in _parts(value))
    return made


def _parts(secret: Secret) -> list[str]:
    """Returns the texts that must be shown nowhere: `secret`, or the password in an address."""
    userinfos = re.findall(r"//[^/@\s]*?:([^/@\s]+)@", secret)
    if "://" not in secret:
        return [secret]
    return [form for password in userinfos for form in (password, unquote(password))]


def whole_environment() -> dict[str, str]:
    """Returns a copy of the process's environment, for handing on to a child."""
    return dict(os.environ)


def environment_with_dotenv() -> dict[str, str]:
    """Returns what `load` reads: the process's environment, and of a `.env` what that leaves.

    Raises SettingsError when there is a `.env` that cannot be read.
    """
    path = Path(".env")
    try:
        found = {k: v for k, v in dotenv_values(path).items() if v is not None}
    except (UnicodeDecodeError, OSError) as problem:
        raise SettingsError(f"{path.resolve()} cannot be read: {problem}") from None
    return found | os.environ


def _text(name: str, given: Mapping[str, str]) -> str | None:
    if given.get(name):
        return given[name]
    path = given.get(f"{name}_FILE")
    return Path(path).read_text().rstrip("\n") if path else None


def _convert(text: str, shape: Any) -> Any:
    if shape is Secret:
        return Secret(text)
    if shape is bool:
        return _truth(text)
    if choices := _choices(shape):
        if text.lower() not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text.lower()
    try:
        return msgspec.convert(text, shape, strict=False)
    except msgspec.ValidationError as problem:
        raise ValueError(f"{text!r} is no {_wanted(problem)}") from None


def _wanted(problem: msgspec.ValidationError) -> str:
    """Says in words what msgspec "Expected", such as "`int` >= 0"."""
    told = str(problem).removeprefix("Expected ").partition(", got")[0]
    for kind, name in {"`int`": "whole number", "`float`": "number", "`str`": "text"}.items():
        told = told.replace(kind, name)
    return told


def _choices(shape: Any) -> tuple[str, ...]:
    """Returns the words of a Literal, also of one that may be None; of other types nothing."""
    parts = get_args(shape)
    if get_origin(shape) is Literal:
        return parts
    return tuple(choice for part in parts for choice in _choices(part))


def _check_form(name: str, text: str) -> None:
    """Raises ValueError when no driver could make sense of `text`; shows only what is no secret."""
    if name == "PORT" or name.endswith("_PORT"):
        if not (text.isdecimal() and int(text) <= PORT_MAX):
            raise ValueError(f"{text!r} is no port from 0 to {PORT_MAX}")
    elif name == "REDIS_ADDR" or name.endswith("_SERVICE"):
        _check_addresses(text, several=name.endswith("_SERVICE"))
    elif name == "MONGO_URI" and not _MONGO.fullmatch(text):
        raise ValueError(
            "it must begin with mongodb:// or mongodb+srv:// and name a host (in a password, write "
            "@ as %40, : as %3A and / as %2F)"
        )
    elif name == "PUBLIC_URL" and not _ORIGIN.fullmatch(text):
        raise ValueError("it must be https://host or http://host:port, with nothing behind")
    elif name == "NATS_URL" and not all(_NATS.fullmatch(url.strip()) for url in text.split(",")):
        raise ValueError("it must be nats://host:port or tls://host:port, or several with commas")
    elif name == "CORS_ORIGINS" and not all(map(_PAGES.fullmatch, re.split(r",\s*", text))):
        raise ValueError("it must be exact origins, such as https://shop.example, with commas")
    elif name == "TRUSTED_PROXIES":
        for network in text.split(","):
            ip_network(network.strip())  # its own words say what is wrong


def _check_addresses(text: str, *, several: bool) -> None:
    addresses = text.split(",") if several else [text]
    for each in addresses:
        address = _ADDRESS.fullmatch(each)
        if not address or not 0 < int(address["port"]) <= PORT_MAX:
            raise ValueError(f"{each!r} is not of the form host:port, the port 1 to {PORT_MAX}")
        if len(addresses) > 1 and not _IPV4.fullmatch(each):
            raise ValueError(f"{each!r} is one of several: it must be an IPv4 address and a port")


def _truth(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True}
    known |= {"0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is neither true nor false")
    return known[text.lower()]


def _secret_problems(values: Mapping[str, Any]) -> list[str]:
    secret = values.get("jwt_secret")
    if secret is None:
        return []
    if secret == SECRET_SHOWN and not values.get("mercato_embedded"):
        return ["JWT_SECRET is the one that the documentation shows: make your own"]
    if len(secret.encode()) < SECRET_BYTES_MIN:
        return [f"JWT_SECRET must have at least {SECRET_BYTES_MIN} bytes"]
    return []

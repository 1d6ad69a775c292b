"""`mercato health`: whether one service does its work now; for a container's health check."""

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mercato.cli.terminal import IS_PORT, DataDir, console
from mercato.embedded import probes, state
from mercato.embedded.errors import PlatformError
from mercato.embedded.size import kind_of
from mercato.platform.rpc import Identity
from mercato.platform.settings import load

# Where the services listen unless they are told otherwise.
PORTS = {
    "gateway": 8080, "inventory": 50051, "order": 50052, "user": 50053, "mailer": 50054,
    "audit": 50055,
}  # fmt: skip
HTTP = ("gateway", "audit")
ANSWER_TIMEOUT_S = 3.0
FIRST_PROCESS = Path("/proc/1/cmdline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Which certificates a service has, and we to ask it."""

    grpc_ca_file: str = ""
    grpc_cert_file: str = ""
    grpc_key_file: str = ""
    tls_cert_file: str = ""
    mercato_secure: bool = False  # the embedded platform's mode


Service = Literal["user", "inventory", "order", "mailer", "gateway", "audit"]


def health(
    service: Annotated[
        Service | None, Parameter(help="Which one; in a container, the one that it serves.")
    ] = None,
    *,
    port: Annotated[
        int | None,
        Parameter(
            env_var="PORT",
            help="Its port, if not the recorded or usual one.",
            validator=IS_PORT,
        ),
    ] = None,
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
) -> int:
    """Ask one service of this machine whether it does its work; exit code 0 yes, 1 no."""
    name = service or served_by(FIRST_PROCESS)
    use = "http" if name in HTTP else "grpc"
    port = port or _recorded(data_dir, name).get(use) or PORTS[name]
    known = state.read(data_dir)
    files = load(Files, known.environment if known and known.alive else None)
    if use == "http":
        https = name == "gateway" and (files.tls_cert_file or files.mercato_secure)
        answer = probes.http_ok(port, "/readyz", _anybody() if https else None)
    else:
        answer = probes.serving(port, name, Identity.of(files))
    well = asyncio.run(_in_time(answer))
    console.print(f"{name} on port {port} {'works' if well else 'does not work'}")
    return 0 if well else 1


def _anybody() -> ssl.SSLContext:
    """Trusts whoever is there: it is asked whether it works, on this machine, and told nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def served_by(command_line: Path) -> str:
    """The service that a process (its /proc/PID/cmdline) runs; raises PlatformError if none."""
    words = command_line.read_bytes().decode(errors="replace").split("\0")
    name = next((after for word, after in pairwise(words) if word == "serve"), "")
    if name not in PORTS:
        raise PlatformError("this is no container of one service", "name it: mercato health order")
    return name


def _recorded(data_dir: Path, name: str) -> dict[str, int]:
    known = state.read(data_dir)
    parts = known.parts if known and known.alive else {}
    return next((part.ports for each, part in parts.items() if kind_of(each) == name), {})


async def _in_time(answer: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await answer
    except TimeoutError:
        return False

"""Free loopback ports that stay the same from one start to the next."""

import random
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from mercato.embedded.errors import PlatformError

LOOPBACK = "127.0.0.1"
LOWEST = 20_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES_MAX = 1_000


def addresses(ports: Iterable[int]) -> str:
    """Returns `host:port` for each of these loopback ports, with commas between them."""
    return ",".join(f"{LOOPBACK}:{port}" for port in ports)


def is_free(port: int, *, reuse: bool = True) -> bool:
    """Whether a server could listen on this loopback port now.

    Without `reuse` it must not be `held` by anybody either, nor have been used just now.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@contextmanager
def held(ports: Iterable[int]) -> Iterator[None]:
    """Inside, `any_free` gives none of these ports to anybody; servers may listen on them."""
    with ExitStack() as stack:
        for port in ports:
            holding = stack.enter_context(socket.socket())
            holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # somebody listens there already: its part will say so
                holding.bind((LOOPBACK, port))
        yield


def holder(port: int) -> str:
    """Who listens on the port, as "name (pid 42)"; empty when this user may not know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listens and listens.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""


def demand(port: int) -> None:
    """Raises PlatformError, naming who has it where that is known, unless the port is free."""
    if not is_free(port):
        by = holder(port) or "another program"
        raise PlatformError(
            f"port {port} is taken by {by}", "choose another: mercato up --port 8081"
        )


def allot(
    names: Iterable[str], before: Mapping[str, int], given: Mapping[str, int]
) -> dict[str, int]:
    """A free port for each name that has none `given`: the one it had `before` where that is free.

    Ports lie below the kernel's ephemeral range: a client that keeps dialling a dead server
    inside that range can be given the server's own port, and then the server cannot return.
    """
    ports = dict(given)
    for name in (each for each in names if each not in given):
        earlier = before.get(name, 0)
        keeps = earlier and earlier not in ports.values() and is_free(earlier)
        ports[name] = earlier if keeps else any_free({*ports.values(), *before.values()})
    return ports


def any_free(taken: Iterable[int] = ()) -> int:
    """Some free port outside `taken`; raises PlatformError when a thousand tries find none."""
    refused = set(taken)
    highest = int(EPHEMERAL.read_text().split()[0]) - 1 if EPHEMERAL.exists() else 32_767
    for _ in range(TRIES_MAX):
        port = random.randint(LOWEST, max(highest, LOWEST + 5_000))  # noqa: S311
        if port not in refused and is_free(port, reuse=False):
            return port
    raise PlatformError("no free port was found")

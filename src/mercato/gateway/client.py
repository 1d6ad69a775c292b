"""Who is at the other end: the client's address, read through the proxies that are trusted."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from litestar import Request

from mercato.gateway.settings import Header
from mercato.kernel.client import AGENT_CHARS_MAX, Client, canonical, printable

__all__ = ["CLIENT_KEY", "Client", "Header", "Proxies", "client_of"]

CLIENT_KEY: Final = "mercato.client"  # in the ASGI scope
HOPS_MAX: Final = 32  # of a chain of proxies; what stands further left is not looked at
HOP_CHARS_MAX: Final = 4096

_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^";\s]*))', re.IGNORECASE)
_PORT: Final = re.compile(r":[0-9]{1,5}$")


def client_of(request: "Request[Any, Any, Any]") -> Client:
    """Returns who sent `request`."""
    client: Client = request.scope[CLIENT_KEY]  # type: ignore[typeddict-item]
    return client


class Proxies:
    """The proxies whose word is taken for whom they speak, by `trusted` (CIDRs with commas).

    Each hop appends the address that it saw, so the header is read from the right: what the first
    hop that is not trusted says of others is its own invention.
    """

    def __init__(self, trusted: str = "", header: Header = "x-forwarded-for") -> None:
        self._networks = tuple(ip_network(one.strip()) for one in trusted.split(",") if one.strip())
        self._header = header.encode()
        self._hops = _of_forwarded if header == "forwarded" else _of_list
        self._known = lru_cache(maxsize=4096)(self._seen)

    def client(self, scope: Any) -> Client:
        """Returns the client of an ASGI scope."""
        peer, agent, told = scope["client"], b"", b""
        for name, value in scope["headers"]:
            if name == b"user-agent":
                agent = value
            elif name == self._header:
                told = b", ".join((told, value)) if told else value
        # What is remembered is short, however long a header was.
        seen = told[-HOP_CHARS_MAX:], agent[:AGENT_CHARS_MAX]
        return self._known(peer[0] if peer else "", *seen)

    def trusts(self, address: str) -> bool:
        """Whether a proxy of ours is at `address`."""
        if not self._networks or not (known := canonical(address)):
            return False
        found = ip_address(known)
        return any(found in network for network in self._networks)

    def _seen(self, peer: str, told: bytes, agent: bytes) -> Client:
        address = self._behind(peer, told.decode("latin-1"))
        return Client(address, printable(agent.decode("latin-1")))

    def _behind(self, peer: str, told: str) -> str:
        address = canonical(peer)
        hops = self._hops(told)
        for hop in reversed(hops[-HOPS_MAX:]):
            if not self.trusts(address) or not (further := canonical(_bare(hop))):
                break
            address = further
        return address


def _of_list(told: str) -> Sequence[str]:
    return [hop.strip() for hop in told.split(",")]


def _of_forwarded(told: str) -> Sequence[str]:
    """Returns each hop's `for` of RFC 7239, empty where it has none."""
    found: Iterable[re.Match[str] | None] = (_FOR.search(hop) for hop in told.split(","))
    return [(match[1] or match[2] or "") if match else "" for match in found]


def _bare(hop: str) -> str:
    """Returns the address of `192.0.2.1:80`, `[2001:db8::1]:80` or an address alone."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return _PORT.sub("", hop) if hop.count(":") == 1 else hop

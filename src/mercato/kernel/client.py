"""Where a request comes from: a network address, and what the program there calls itself."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

AGENT_CHARS_MAX: Final = 256
_UNPRINTABLE: Final = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class Client:
    """`address` is an IP address in its canonical form, or empty when nobody knows it."""

    address: str = ""
    agent: str = ""

    @property
    def network(self) -> str:
        """What counts as one client: an IPv4 address, or an IPv6 /64, which is one household."""
        if ":" not in self.address:
            return self.address
        return f"{IPv6Address(int(IPv6Address(self.address)) >> 64 << 64)}/64"


def printable(agent: str) -> str:
    """Returns as much of what a client calls itself as can be shown anywhere."""
    return _UNPRINTABLE.sub("?", agent[:AGENT_CHARS_MAX])


def canonical(address: str) -> str:
    """Returns the address in its canonical form, without a zone; what is no address is empty.

    IPv4 that IPv6 wraps (`::ffff:192.0.2.1`) comes out as IPv4.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found)))
    return str(found)

"""The proxies of a platform: one before each server and before each service's gRPC port."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from mercato.embedded.plan import RPC_SERVICES
from mercato.embedded.ports import LOOPBACK
from mercato.embedded.settings import WIDE_LIMITS
from mercato.storm.proxy import Proxy, has_message, not_a_ping
from mercato.storm.smtp import SmtpProxy

LINKS: Final = ("mongo", "redis", "nats", "smtp", "mailbox", *RPC_SERVICES)


class Wiring:
    """All proxies, by the name of what is behind them."""

    def __init__(self) -> None:
        self.smtp = SmtpProxy("smtp")
        self.proxies: dict[str, Proxy] = {
            "mongo": Proxy("mongo"),
            "redis": Proxy("redis"),
            "nats": Proxy("nats", is_reply=not_a_ping),
            "smtp": self.smtp,
            "mailbox": Proxy("mailbox"),
        }
        for service in RPC_SERVICES:
            self.proxies[service] = Proxy(service, is_reply=has_message)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Wiring"]:
        """Every proxy listens; where each leads to is told by `rewire`."""
        wiring = cls()
        try:
            for proxy in wiring.proxies.values():
                await proxy.open()
            yield wiring
        finally:
            for proxy in wiring.proxies.values():
                proxy.close()

    def rewire(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Returns what the services are told, so that every way leads through a proxy.

        The driver would ask a replica set for its members' own addresses and go round the proxy:
        hence `directConnection`.
        """
        self._lead("mongo", environment["MONGO_URI"].partition("/?")[0])
        self._lead("redis", environment["REDIS_ADDR"])
        self._lead("nats", environment["NATS_URL"])
        self._lead("smtp", environment["SMTP_PORT"])
        self._lead("mailbox", environment["MAILBOX_API"])
        seen = {
            **WIDE_LIMITS,
            "MONGO_URI": f"mongodb://{self._at('mongo')}/?directConnection=true",
            "REDIS_ADDR": self._at("redis"),
            "NATS_URL": f"nats://{self._at('nats')}",
            "SMTP_PORT": str(self.smtp.port),
            "MAILBOX_API": f"http://{self._at('mailbox')}",
        }
        for service in RPC_SERVICES:
            variable = f"{service.upper()}_SERVICE"
            self._lead(service, environment[variable])
            seen[variable] = self._at(service)
        return seen

    def calm(self) -> None:
        for proxy in self.proxies.values():
            proxy.calm()

    def _lead(self, name: str, address: str) -> None:
        self.proxies[name].upstream = int(address.rpartition(":")[2])

    def _at(self, name: str) -> str:
        return f"{LOOPBACK}:{self.proxies[name].port}"

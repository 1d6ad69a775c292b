"""Decides what a platform consists of: its parts, their ports, and the environment of each."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mercato.embedded import probes, servers
from mercato.embedded.part import Part, Tier, serve
from mercato.embedded.ports import LOOPBACK, allot, demand
from mercato.embedded.settings import Given
from mercato.embedded.state import PlatformState, write_private

GATEWAY_PORT = 8080
RPC_SERVICES = ("user", "inventory", "order", "mailer")
SERVICES = (*RPC_SERVICES, "gateway")
SERVER_VARIABLES = ("MONGO_URI", "REDIS_ADDR", "NATS_URL", "SMTP_HOST")
PORTS = (
    *("mongo/mongodb", "redis/redis", "nats/nats", "mailbox/http", "mailbox/smtp"),
    *(f"{service}/{use}" for service in RPC_SERVICES for use in ("grpc", "metrics")),
    "gateway/http",
)
LOGINS = {
    "admin@mercato.example": "mercato-admin-demo",
    "customer@mercato.example": "mercato-customer-demo",
}

# From the platform's environment to what of it the services are told another way.
Rewire = Callable[[Mapping[str, str]], Mapping[str, str]]


def as_it_is(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Rewires nothing: the services talk to the servers and to one another directly."""
    return {}


@dataclass(slots=True)
class Plan:
    """`environment` is what any program needs to talk to the platform; it holds the secret."""

    environment: dict[str, str]
    parts: list[Part] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)
    external: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)


def draw(
    data_dir: Path,
    services: Sequence[str],
    port: int,
    given: Given,
    before: PlatformState | None,
    rewire: Rewire = as_it_is,
) -> Plan:
    """The plan for a data directory; the gateway gets `port`, 0 for any free one.

    Servers that are `given` are used, not started. The services see what `rewire` makes of the
    environment (to put proxies between them), the probes do not. Raises PlatformError when a
    program is missing or `port` is taken.
    """
    ports = allot(PORTS, before.ports if before else {})
    if port and "gateway" in services:
        demand(port)
        ports["gateway/http"] = port
    plan = Plan(environment={**given.environment(), "MERCATO_EMBEDDED": "1"}, ports=ports)
    plan.environment.setdefault("JWT_SECRET", _secret(data_dir / "jwt_secret"))
    _add_servers(plan, data_dir, ports)
    plan.external = [name for name in SERVER_VARIABLES if name in given.environment()]
    for name in RPC_SERVICES:
        plan.environment[f"{name.upper()}_SERVICE"] = f"{LOOPBACK}:{ports[f'{name}/grpc']}"
    if "user" in services and not given.mongo_uri:  # never into a database that is not ours
        plan.logins = dict(LOGINS)
    seen = {**plan.environment, **rewire(plan.environment)}
    plan.parts += [_service(name, seen, plan.logins, ports) for name in services]
    if "gateway" in services:
        gateway = f"http://{LOOPBACK}:{ports['gateway/http']}"
        plan.urls = {"gateway": gateway, "docs": f"{gateway}/docs", **plan.urls}
    return plan


def _add_servers(plan: Plan, data_dir: Path, ports: Mapping[str, int]) -> None:
    environment = plan.environment
    if "MONGO_URI" not in environment:
        port = ports["mongo/mongodb"]
        plan.parts.append(servers.mongo(data_dir, port))
        environment["MONGO_URI"] = f"mongodb://{LOOPBACK}:{port}/?replicaSet={probes.REPLICA_SET}"
    if "REDIS_ADDR" not in environment:
        port = ports["redis/redis"]
        plan.parts.append(servers.valkey(port))
        environment |= {"REDIS_ADDR": f"{LOOPBACK}:{port}", "REDIS_PASSWORD": "", "REDIS_DB": "0"}
    if "NATS_URL" not in environment:
        plan.parts.append(servers.nats(data_dir, ports["nats/nats"]))
        environment["NATS_URL"] = f"nats://{LOOPBACK}:{ports['nats/nats']}"
    if "SMTP_HOST" not in environment:
        port, smtp_port = ports["mailbox/http"], ports["mailbox/smtp"]
        plan.parts.append(servers.mailbox(data_dir, port, smtp_port))
        plan.urls["mailbox"] = f"http://{LOOPBACK}:{port}"
        environment |= {"SMTP_HOST": LOOPBACK, "SMTP_PORT": str(smtp_port), "SMTP_TLS": "none"}
        environment |= {"SMTP_USERNAME": "", "SMTP_PASSWORD": ""}
        environment["MAILBOX_API"] = plan.urls["mailbox"]


def _service(
    name: str, seen: Mapping[str, str], logins: Mapping[str, str], ports: Mapping[str, int]
) -> Part:
    environment = dict(seen)
    if name == "gateway":
        mine = {"http": ports["gateway/http"]}
        answers = partial(probes.http_ok, mine["http"], "/readyz")
        environment["PORT"] = str(mine["http"])
        tier = Tier.GATEWAY
    else:
        mine = {use: ports[f"{name}/{use}"] for use in ("grpc", "metrics")}
        answers = partial(probes.serving, mine["grpc"])
        environment |= {"PORT": str(mine["grpc"]), "METRICS_PORT": str(mine["metrics"])}
        tier = Tier.SERVICE
    if name == "user":
        for role, (email, password) in zip(("ADMIN", "CUSTOMER"), logins.items(), strict=False):
            environment |= {f"DEMO_{role}_EMAIL": email, f"DEMO_{role}_PASSWORD": password}
    return Part(
        name=name,
        command=serve(name),
        ports=mine,
        answers=answers,
        tier=tier,
        environment=environment,
        niceness=servers.MAIL_NICENESS if name == "mailer" else 0,
    )


def _secret(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48).encode())
    return path.read_text()

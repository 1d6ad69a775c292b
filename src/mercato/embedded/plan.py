"""Decides what a platform consists of: its parts, their ports, and the environment of each."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mercato.embedded import keys, probes, servers
from mercato.embedded.errors import UsageError
from mercato.embedded.part import Part, Tier, serve
from mercato.embedded.ports import LOOPBACK, addresses, allot, demand
from mercato.embedded.secure.mode import PLAIN, Secure, insist_on_passwords
from mercato.embedded.secure.rights import OPERATOR
from mercato.embedded.settings import Given
from mercato.embedded.size import SINGLE, Size, insist
from mercato.embedded.state import PlatformState, write_private
from mercato.platform.settings import whole_environment

RPC_SERVICES = ("user", "inventory", "order", "mailer")
SERVICES = (*RPC_SERVICES, "gateway", "audit")
SERVER_VARIABLES = ("MONGO_URI", "REDIS_ADDR", "NATS_URL", "SMTP_HOST")
# What a plan says to each service, whatever the environment says of it.
PLANNED = {"PORT", "MERCATO_EMBEDDED", *(f"{name.upper()}_SERVICE" for name in RPC_SERVICES)}
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
    """`environment` is what any program needs to talk to the platform; it holds the secret.

    In secure mode it is the operator's: what each service is told stays with that service.
    """

    environment: dict[str, str]
    parts: list[Part] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)
    former_logins: dict[str, str] = field(default_factory=dict)  # what is to give way to them
    external: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    secure: bool = False
    keys_file: str = ""  # private: for the user service alone


def draw(
    data_dir: Path,
    services: Sequence[str],
    port: int,
    given: Given,
    before: PlatformState | None,
    rewire: Rewire = as_it_is,
    size: Size = SINGLE,
    secure: bool = False,
) -> Plan:
    """The plan for a data directory; the gateway (or balancer) gets `port`, 0 for any free one.

    Servers that are `given` are used, not started. The services see what `rewire` makes of the
    environment (to put proxies between them), the probes do not. Raises PlatformError when a
    program is missing or `port` is taken.
    """
    insist(data_dir, size)
    mode = _secure(data_dir, given, size, before) if secure else None
    wanted = {f"{size.front}/http": port} if port and "gateway" in services else {}
    if wanted:
        demand(port)
    ports = allot(_uses(size), before.ports if before else {}, wanted)
    base = {**given.environment(), **PLAIN, "MERCATO_EMBEDDED": "1"}
    plan = Plan(base, ports=ports, secure=secure)
    plan.environment.setdefault("JWT_SECRET", _secret(data_dir / "jwt_secret"))
    plan.external = [name for name in SERVER_VARIABLES if name in base]
    _add_servers(plan, data_dir, ports, size, mode)
    _introduce(plan, data_dir, services, size)
    if not given.mongo_uri:  # never into a database that is not ours
        _add_logins(plan, mode, before)
    seen = {**plan.environment, **rewire(plan.environment)}
    for name in services:
        own = mode.environment(name, seen, plan.external) if mode else {}
        copies_of = ["audit"] if name == "audit" else size.services(name)  # one sees everything
        plan.parts += [_service(name, copy, seen | own, plan, size, mode) for copy in copies_of]
    if mode:
        plan.environment |= mode.environment(OPERATOR, plan.environment, plan.external)
    if "gateway" in services:
        _add_front(plan, size)
    return plan


def _add_logins(plan: Plan, mode: Secure | None, before: PlatformState | None) -> None:
    """The demo logins: public ones in a plain folder, and none of these once it was secure."""
    last = before.logins if before else {}
    plan.logins = mode.logins(LOGINS) if mode else {**LOGINS, **last}
    for email, password in plan.logins.items():
        former = {LOGINS.get(email, ""), last.get(email, "")} - {password, ""}
        plan.former_logins[email] = " ".join(sorted(former))


def _introduce(plan: Plan, data_dir: Path, services: Sequence[str], size: Size) -> None:
    """Tells where the services are, and by which keys they know users."""
    for name in RPC_SERVICES:
        copies = [plan.ports[f"{copy}/grpc"] for copy in size.services(name)]
        plan.environment[f"{name.upper()}_SERVICE"] = addresses(copies)
    if services:
        private, public = keys.insist(data_dir)
        plan.keys_file = str(private)
        plan.environment["JWT_JWKS_FILE"] = str(public)
        plan.environment.setdefault("PUBLIC_URL", _front_url(plan, size))


def _add_front(plan: Plan, size: Size) -> None:
    front = plan.ports[f"{size.front}/http"]
    if size.copies > 1:
        gateways = [plan.ports[f"{copy}/http"] for copy in size.services("gateway")]
        plan.parts.append(servers.balancer(front, gateways))
    url = _front_url(plan, size)
    plan.urls = {"gateway": url, "docs": f"{url}/docs", **plan.urls}


def _front_url(plan: Plan, size: Size) -> str:
    return f"{'https' if plan.secure else 'http'}://{LOOPBACK}:{plan.ports[f'{size.front}/http']}"


def _uses(size: Size) -> Iterator[str]:
    """Every port that a platform of this size has, as `part/use`."""
    for name in size.servers("mongo"):
        yield f"{name}/mongodb"
    for name in size.servers("nats"):
        yield f"{name}/nats"
        if size.members > 1:
            yield f"{name}/routes"
    yield from ("redis/redis", "mailbox/http", "mailbox/smtp")
    for service in RPC_SERVICES:
        for name in size.services(service):
            yield from (f"{name}/grpc", f"{name}/metrics")
    for name in {*size.services("gateway"), size.front, "audit"}:
        yield f"{name}/http"


def insist_on_mode(size: Size, secure: bool) -> None:
    """Raises UsageError when a platform of this size has no secure mode."""
    if secure and (size.members > 1 or size.copies > 1):
        raise UsageError(
            "secure mode is for a single platform; a cluster has none yet",
            "leave out --secure or --cluster; servers of yours: docs/security.md",
        )


def _secure(data_dir: Path, given: Given, size: Size, before: PlatformState | None) -> Secure:
    insist_on_mode(size, secure=True)
    if before and before.secure and not given.mongo_uri:  # mongod knows users by them
        insist_on_passwords(data_dir)
    return Secure(data_dir, given.mongo_db_name)


def _add_servers(
    plan: Plan, data_dir: Path, ports: Mapping[str, int], size: Size, secure: Secure | None
) -> None:
    environment = plan.environment
    if "MONGO_URI" not in environment:
        mongods = {name: ports[f"{name}/mongodb"] for name in size.servers("mongo")}
        plan.parts += servers.mongo(data_dir, mongods, secure)
        hosts = addresses(mongods.values())
        environment["MONGO_URI"] = f"mongodb://{hosts}/?replicaSet={probes.REPLICA_SET}"
    if "REDIS_ADDR" not in environment:
        port = ports["redis/redis"]
        plan.parts.append(servers.valkey(port, secure))
        environment |= {"REDIS_ADDR": f"{LOOPBACK}:{port}", "REDIS_PASSWORD": "", "REDIS_DB": "0"}
    if "NATS_URL" not in environment:
        brokers = {name: _of(name, ports) for name in size.servers("nats")}
        plan.parts += servers.nats(data_dir, brokers, secure)
        urls = [f"nats://{LOOPBACK}:{broker['nats']}" for broker in brokers.values()]
        environment["NATS_URL"] = ",".join(urls)
    if "SMTP_HOST" not in environment:
        port, smtp_port = ports["mailbox/http"], ports["mailbox/smtp"]
        plan.parts.append(servers.mailbox(data_dir, port, smtp_port))
        plan.urls["mailbox"] = f"http://{LOOPBACK}:{port}"
        environment |= {"SMTP_HOST": LOOPBACK, "SMTP_PORT": str(smtp_port), "SMTP_TLS": "none"}
        environment |= {"SMTP_USERNAME": "", "SMTP_PASSWORD": ""}
        # a mail of unknown fate is looked up here in seconds, so more may be on their way at once
        environment["MAILBOX_API"] = plan.urls["mailbox"]
        environment["SMTP_CONNECTIONS"] = whole_environment().get("SMTP_CONNECTIONS") or "12"


def _of(name: str, ports: Mapping[str, int]) -> dict[str, int]:
    """The ports of one part, by use."""
    uses = (key.split("/") for key in ports)
    return {use: ports[f"{part}/{use}"] for part, use in uses if part == name}


def _service(
    name: str, copy: str, seen: Mapping[str, str], plan: Plan, size: Size, secure: Secure | None
) -> Part:
    environment = dict(seen)
    mine = _of(copy, plan.ports)
    if copy != size.front:  # HOST is for the door alone
        environment["HOST"] = LOOPBACK
    if "http" in mine:
        tls = secure.trusting() if secure and name == "gateway" else None
        answers = partial(probes.http_ok, mine["http"], "/readyz", tls)
        environment["PORT"] = str(mine["http"])
    else:
        answers = partial(probes.serving, mine["grpc"], name, secure.identity if secure else None)
        environment |= {"PORT": str(mine["grpc"]), "METRICS_PORT": str(mine["metrics"])}
    if name == "gateway" and size.copies > 1:
        environment |= {"DRAIN_S": str(servers.DRAIN_S), "PROXY_PROTOCOL": "1"}
    if name == "user":
        environment["JWT_KEYS_FILE"] = plan.keys_file
        roles = zip(("ADMIN", "CUSTOMER"), plan.logins.items(), strict=False)
        for role, (email, password) in roles:
            environment |= {f"DEMO_{role}_EMAIL": email, f"DEMO_{role}_PASSWORD": password}
            environment[f"DEMO_{role}_FORMER"] = plan.former_logins[email]
    return Part(
        name=copy,
        command=serve(name),
        ports=mine,
        answers=answers,
        tier=Tier.GATEWAY if name == "gateway" else Tier.SERVICE,
        environment=environment,
        niceness=servers.NICENESS.get(name, 0),
    )


def _secret(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48).encode())
    return path.read_text()

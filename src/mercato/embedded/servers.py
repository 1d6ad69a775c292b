"""How the four embedded servers are started: on loopback, small, and with nothing to configure."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from mercato.embedded import probes
from mercato.embedded.binaries import need
from mercato.embedded.part import Part, Tier, serve
from mercato.embedded.ports import LOOPBACK, addresses
from mercato.embedded.secure.mode import Secure
from mercato.embedded.state import write_private

MIB = 1024 * 1024
MAIL_NICENESS = 5
# Of services that may wait for the others where they share few cores: orders come first.
NICENESS = {"mailer": MAIL_NICENESS, "audit": MAIL_NICENESS, "user": 5}
DRAIN_S = 1.0  # of a gateway behind the balancer, which looks several times as often


def mongo(data_dir: Path, members: Mapping[str, int], secure: Secure | None = None) -> list[Part]:
    """A replica set, also of one, so that transactions work; `members` are names and ports."""
    return [_mongod(data_dir / name, name, members, secure) for name in members]


def _mongod(home: Path, name: str, members: Mapping[str, int], secure: Secure | None) -> Part:
    """One mongod.

    Transactions of a killed process must not hold documents for the default 60 s, and a primary
    without secondaries has nobody to wait for when it stops.
    """
    port = members[name]
    limits = ("transactionLifetimeLimitSeconds=2", "shutdownTimeoutMillisForSignaledShutdown=100")
    settings = [word for limit in limits for word in ("--setParameter", limit)]
    options = {
        "--dbpath": home,
        "--port": port,
        "--bind_ip": LOOPBACK,
        "--replSet": probes.REPLICA_SET,
        "--wiredTigerCacheSizeGB": 0.25,
        "--oplogSize": 256,
    }
    command = (need("mongod"), *_words(options), *settings, "--nounixsocket", "--quiet")
    command += ("--setParameter", "diagnosticDataCollectionEnabled=false")
    command += ("--keyFile", str(secure.mongo_key())) if secure else ()  # which implies --auth
    accounts = secure.accounts() if secure else None
    answers = partial(probes.replica, port, list(members.values()), accounts)
    return Part(name=name, command=command, ports={"mongodb": port}, answers=answers, home=home)


def valkey(port: int, secure: Secure | None = None) -> Part:
    """A cache only: bounded, evicting, and empty after a restart."""
    options = {
        "--bind": LOOPBACK,
        "--port": port,
        "--save": "",
        "--appendonly": "no",
        "--maxmemory": "64mb",
        "--maxmemory-policy": "allkeys-lru",
    }
    config = (str(secure.redis_config()),) if secure else ()
    command = (need("valkey-server"), *config, *_words(options))
    answers = partial(probes.pong, port, secure.redis_password if secure else "")
    return Part(name="redis", command=command, ports={"redis": port}, answers=answers)


def nats(
    data_dir: Path, members: Mapping[str, Mapping[str, int]], secure: Secure | None = None
) -> list[Part]:
    """JetStream, on one server or on a cluster; `members` are names and their ports by use."""
    return [_nats_server(data_dir, name, members, secure) for name in members]


def _nats_server(
    data_dir: Path, name: str, members: Mapping[str, Mapping[str, int]], secure: Secure | None
) -> Part:
    """JetStream, by its defaults: what a power cut takes of it, the outboxes tell again."""
    home, config, ports = data_dir / name, data_dir / f"{name}.json", members[name]
    limits = {"max_memory_store": 64 * MIB, "max_file_store": 4096 * MIB}
    content: dict[str, object] = {
        "listen": f"{LOOPBACK}:{ports['nats']}",
        "jetstream": {"store_dir": str(home.resolve()), **limits},
    }
    if "routes" in ports:
        content["server_name"] = name
        content["cluster"] = {
            "name": "mercato",
            "listen": f"{LOOPBACK}:{ports['routes']}",
            "routes": [f"nats://{LOOPBACK}:{other['routes']}" for other in members.values()],
            "no_advertise": True,
        }
    if secure:
        content["authorization"] = secure.nats_authorization()
    text = json.dumps(content, indent=2, ensure_ascii=False)  # nats-server reads no \u escapes
    write_private(config, text.encode())
    command = (need("nats-server"), "--config", str(config))
    answers = partial(probes.jetstream, ports["nats"], secure.nats_login if secure else None)
    return Part(name=name, command=command, ports=ports, answers=answers, home=home)


def balancer(port: int, gateways: Sequence[int]) -> Part:
    """One address before several gateways (their ports)."""
    return Part(
        name="balancer",
        command=serve("balancer"),
        ports={"http": port},
        answers=partial(probes.http_ok, port, "/readyz"),
        tier=Tier.GATEWAY,
        environment={"PORT": str(port), "BACKENDS": addresses(gateways), "PROXY_PROTOCOL": "1"},
    )


def mailbox(data_dir: Path, port: int, smtp_port: int) -> Part:
    """Takes every mail and shows it on a page; what it answered 250 to survives anything."""
    home = data_dir / "mailbox"
    environment = {"PORT": str(port), "SMTP_PORT": str(smtp_port), "MAILBOX_DIR": str(home)}
    ports = {"http": port, "smtp": smtp_port}
    answers = partial(probes.http_ok, port, "/readyz")
    return Part(
        name="mailbox",
        command=serve("mailbox"),
        ports=ports,
        answers=answers,
        environment=environment,
        home=home,
        niceness=MAIL_NICENESS,
    )


def _words(options: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(word) for option in options.items() for word in option)

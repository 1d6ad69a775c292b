"""How the four embedded servers are started: on loopback, small, and with nothing to configure."""

import json
from functools import partial
from pathlib import Path

from mercato.embedded import probes
from mercato.embedded.binaries import need
from mercato.embedded.part import Part, serve
from mercato.embedded.ports import LOOPBACK

MIB = 1024 * 1024
MAIL_NICENESS = 5


def mongo(data_dir: Path, port: int) -> Part:
    """A single-node replica set, so that transactions work.

    Transactions of a killed process must not hold documents for the default 60 s, and a primary
    without secondaries has nobody to wait for when it stops.
    """
    home = data_dir / "mongo"
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
    answers = partial(probes.writable_primary, port)
    return Part(name="mongo", command=command, ports={"mongodb": port}, answers=answers, home=home)


def valkey(port: int) -> Part:
    """A cache only: bounded, evicting, and empty after a restart."""
    options = {
        "--bind": LOOPBACK,
        "--port": port,
        "--save": "",
        "--appendonly": "no",
        "--maxmemory": "64mb",
        "--maxmemory-policy": "allkeys-lru",
    }
    command = (need("valkey-server"), *_words(options))
    answers = partial(probes.pong, port)
    return Part(name="redis", command=command, ports={"redis": port}, answers=answers)


def nats(data_dir: Path, port: int) -> Part:
    """JetStream that syncs before it acknowledges; its options exist only in a file."""
    home, config = data_dir / "nats", data_dir / "nats.json"
    limits = {"max_memory_store": 64 * MIB, "max_file_store": 4096 * MIB, "sync_interval": "always"}
    content = {
        "listen": f"{LOOPBACK}:{port}",
        "jetstream": {"store_dir": str(home.resolve()), **limits},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)  # nats-server reads no \u escapes
    config.write_text(text, encoding="utf-8")
    command = (need("nats-server"), "--config", str(config))
    answers = partial(probes.jetstream, port)
    return Part(name="nats", command=command, ports={"nats": port}, answers=answers, home=home)


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

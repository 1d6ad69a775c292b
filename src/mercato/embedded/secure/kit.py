"""Secure mode for containers and servers of yours: a folder for each service, ready to be mounted.

`deploy/compose.secure.yaml` mounts them; the authority's key and the list of passwords stay where
they were made.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from mercato.embedded.home import usable
from mercato.embedded.secure.accounts import SUPERVISOR, Accounts
from mercato.embedded.secure.mode import Secure
from mercato.embedded.secure.rights import OPERATOR, RIGHTS, uses_mongo
from mercato.embedded.state import write_private

# Where the servers are, inside the network of compose.yaml.
SEEN: Final = {
    "MONGO_URI": "mongodb://mongo:27017/?replicaSet=rs0",
    "NATS_URL": "nats://nats:4222",
    "REDIS_ADDR": "redis:6379",
}
SECRETS: Final = ("MONGO_URI", "NATS_URL", "REDIS_PASSWORD")
# As compose.yaml's health check, of a server that asks who one is.
_HEALTH: Final = """\
const password = require("fs").readFileSync("/run/mercato/supervisor", "utf8")
db.getSiblingDB("admin").auth("supervisor", password)
try {
  rs.status()
} catch (refusal) {
  if (refusal.codeName !== "NotYetInitialized") throw refusal
  rs.initiate({_id: "rs0", members: [{_id: 0, host: "mongo:27017"}]})
}
quit(db.hello().isWritablePrimary ? 0 : 1)
"""


def make(folder: Path, database: str) -> list[str]:
    """Makes what is missing in `folder`, renews what nears its end; returns the folders in it."""
    with usable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        secure = Secure(folder, database)
        for name in (*RIGHTS, OPERATOR):
            _service(folder / name, name, secure)
        _servers(folder, secure)
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _service(folder: Path, name: str, secure: Secure) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    told = secure.environment(name, SEEN, [])
    shutil.copy(told["GRPC_CA_FILE"], folder / "ca.pem")
    shutil.copy(told["GRPC_CERT_FILE"], folder / "own.pem")
    shutil.copy(told["GRPC_KEY_FILE"], folder / "own.key")
    for variable in SECRETS:
        if variable in told:
            write_private(folder / variable.lower(), told[variable].encode())


def _servers(folder: Path, secure: Secure) -> None:
    for name in ("mongo", "nats", "redis"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    accounts = secure.accounts()
    shutil.copy(secure.mongo_key(), folder / "mongo" / "key")
    write_private(folder / "mongo" / "supervisor", accounts.passwords[SUPERVISOR].encode())
    write_private(folder / "mongo" / "users.js", users_script(accounts).encode())
    write_private(folder / "mongo" / "health.js", _HEALTH.encode())
    shutil.copy(secure.redis_config(), folder / "redis" / "redis.conf")
    config = {
        "port": 4222,
        "http": 8222,
        "jetstream": {"store_dir": "/data", "max_file_store": 4 * 1024**3},
        "authorization": secure.nats_authorization(),
    }
    write_private(folder / "nats" / "nats.conf", _json(config))


def users_script(accounts: Accounts) -> str:
    """Returns what mongosh is to run once, on a server that has no users yet."""
    lines = ['const admin = db.getSiblingDB("admin")']
    for name in filter(uses_mongo, RIGHTS):
        lines.append(f"admin.createRole({_json(accounts.role(name)).decode()})")
        lines.append(f"admin.createUser({_json(accounts.user(name)).decode()})")
    lines.append(f"admin.createUser({_json(accounts.user(OPERATOR)).decode()})")
    return "\n".join(lines) + "\n"


def _json(content: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content))

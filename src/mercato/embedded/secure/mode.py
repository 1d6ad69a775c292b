"""What a data directory has in secure mode: certificates, passwords, and who gets which."""

import base64
import secrets
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mercato.embedded.errors import PlatformError
from mercato.embedded.ports import LOOPBACK
from mercato.embedded.secure.accounts import SUPERVISOR, Accounts
from mercato.embedded.secure.authority import CA_FILE, Authority
from mercato.embedded.secure.passwords import Passwords
from mercato.embedded.secure.rights import (
    OPERATOR,
    RIGHTS,
    nats_permissions,
    uses_mongo,
    uses_nats,
)
from mercato.embedded.state import write_private

if TYPE_CHECKING:  # heavy, and of use to the secure mode alone
    from mercato.platform.rpc import Identity

FOLDER: Final = "tls"
PASSWORDS_FILE: Final = "passwords.json"
KEY_BYTES: Final = 512
# What an embedded platform is not told by the environment of who starts it.
PLAIN: Final = dict.fromkeys(
    ("GRPC_CA_FILE", "GRPC_CERT_FILE", "GRPC_KEY_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE"), ""
)


class Secure:
    """Secure mode in `data_dir`, for the servers of ours; those of yours are used as you say."""

    def __init__(self, data_dir: Path, database: str) -> None:
        """Makes what is not there yet, and renews certificates; raises PlatformError."""
        self._data_dir = data_dir
        self._database = database
        self.authority = Authority(data_dir / FOLDER)
        self._passwords = Passwords(data_dir / PASSWORDS_FILE)
        for name in (*RIGHTS, OPERATOR):
            # what customers call it by; to services it is its name alone
            others = ("localhost", LOOPBACK) if name == "gateway" else ()
            self.authority.certify(name, others)

    def environment(self, name: str, seen: Mapping[str, str], yours: list[str]) -> dict[str, str]:
        """Returns what this service is told otherwise than `seen`: its files and its passwords.

        `yours` are the variables that name servers of yours: they stay.
        """
        told = self._files(name)
        if name == "gateway":
            told |= {"TLS_CERT_FILE": told["GRPC_CERT_FILE"], "TLS_KEY_FILE": told["GRPC_KEY_FILE"]}
        if "MONGO_URI" not in yours and (name == OPERATOR or uses_mongo(name)):
            uri = _with_login(seen["MONGO_URI"], name, self._passwords.of(f"mongo/{name}"))
            told["MONGO_URI"] = f"{uri}&authSource=admin"
        if "NATS_URL" not in yours and uses_nats(name):
            password = self._passwords.of(f"nats/{name}")
            urls = seen["NATS_URL"].split(",")
            told["NATS_URL"] = ",".join(_with_login(url, name, password) for url in urls)
        if name == OPERATOR:
            told["MERCATO_SECURE"] = "1"
        if "REDIS_ADDR" not in yours and (name == OPERATOR or RIGHTS[name].caches):
            told["REDIS_PASSWORD"] = self.redis_password
        return told

    def logins(self, emails: Iterable[str]) -> dict[str, str]:
        """Returns the demo accounts' passwords, which nobody else has."""
        return {email: self._passwords.of(f"login/{email}") for email in emails}

    @property
    def redis_password(self) -> str:
        return self._passwords.of("redis")

    @property
    def identity(self) -> "Identity":
        """The operator's, by which the supervisor asks services how they are."""
        from mercato.platform.rpc import Identity

        return Identity(*(Path(file).read_bytes() for file in self._files(OPERATOR).values()))

    @property
    def nats_login(self) -> tuple[str, str]:
        """The operator's name and password at NATS."""
        return OPERATOR, self._passwords.of(f"nats/{OPERATOR}")

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.file))

    def accounts(self) -> Accounts:
        """MongoDB's users."""
        names = (SUPERVISOR, OPERATOR, *filter(uses_mongo, RIGHTS))
        return Accounts(
            self._database, {name: self._passwords.of(f"mongo/{name}") for name in names}
        )

    def mongo_key(self) -> Path:
        """The key by which the members of the replica set know one another."""
        path = self._data_dir / "mongo.key"
        if not path.exists():
            write_private(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)))
        return path

    def redis_config(self) -> Path:
        """A file, since what is on a command line everybody on the machine can read."""
        path = self._data_dir / "redis.conf"
        write_private(path, f"requirepass {self.redis_password}\n".encode())
        return path

    def nats_authorization(self) -> dict[str, Any]:
        """The users of nats-server; whoever is none of them is refused."""
        return {
            "users": [
                {
                    "user": name,
                    "password": self._passwords.of(f"nats/{name}"),
                    "permissions": nats_permissions(name),
                }
                for name in filter(uses_nats, (*RIGHTS, OPERATOR))
            ]
        }

    def _files(self, name: str) -> dict[str, str]:
        certificate, key = self.authority.paths(name)
        return {
            "GRPC_CA_FILE": str(self.authority.file),
            "GRPC_CERT_FILE": str(certificate),
            "GRPC_KEY_FILE": str(key),
        }


def insist_on_passwords(data_dir: Path) -> None:
    """Raises PlatformError when they are lost by which the database of the folder knows users."""
    if (data_dir / "mongo").is_dir() and not (data_dir / PASSWORDS_FILE).exists():
        raise PlatformError(
            f"{PASSWORDS_FILE} is missing in {data_dir}",
            "bring it back, or start once with --plain, which drops the users, then with --secure",
        )


def trusting(data_dir: Path, url: str) -> ssl.SSLContext | None:
    """Returns who is to be trusted at `url`: also our own authority, if the folder has one."""
    if not url.startswith("https:"):
        return None
    context, own = ssl.create_default_context(), data_dir / FOLDER / CA_FILE
    if own.exists():
        context.load_verify_locations(own)
    return context


def _with_login(url: str, name: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{name}:{password}@{rest}"

"""MongoDB's users: one for each service, with a role for its own collections, made at the start."""

from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from mercato.embedded.secure.rights import OPERATOR, RIGHTS, mongo_privileges, uses_mongo

SUPERVISOR: Final = "supervisor"  # who makes the others; nobody but the supervisor logs in as it
AUTHENTICATION_FAILED: Final = 18
_ROLE_EXISTS: Final = 51002
_MECHANISMS: Final = ["SCRAM-SHA-256"]

Client = AsyncMongoClient[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users of `database` and their passwords by name, the supervisor's among them."""

    database: str
    passwords: dict[str, str] = field(repr=False)

    def login(self) -> dict[str, Any]:
        """Returns how the supervisor logs in, as options of a client."""
        return {
            "username": SUPERVISOR,
            "password": self.passwords[SUPERVISOR],
            "authSource": "admin",
            "authMechanism": _MECHANISMS[0],
        }

    async def begin(self, client: Client) -> None:
        """Makes the supervisor's user; mongod lets anybody on its machine make the very first."""
        await _run(client, "createUser", self._account(SUPERVISOR, ["root"]))

    async def ensure(self, client: Client) -> None:
        """Brings roles and users up to date; `client` is logged in as the supervisor."""
        found = await client.admin.command("usersInfo", 1)
        there = {each["user"] for each in found["users"]}
        for name in filter(uses_mongo, RIGHTS):
            try:
                await _run(client, "createRole", self.role(name))
            except OperationFailure as refusal:
                if refusal.code != _ROLE_EXISTS:
                    raise
                await _run(client, "updateRole", self.role(name))
        for name in (*filter(uses_mongo, RIGHTS), OPERATOR):
            if name not in there:
                await _run(client, "createUser", self.user(name))

    def role(self, name: str) -> dict[str, Any]:
        """The role of a service, in the form of mongosh."""
        return {
            "role": role_of(name),
            "privileges": mongo_privileges(name, self.database),
            "roles": [],
        }

    def user(self, name: str) -> dict[str, Any]:
        """The user of a service or of the operator, in the form of mongosh."""
        own = [{"role": role, "db": self.database} for role in ("readWrite", "dbAdmin")]
        return self._account(
            name, [*own, "clusterMonitor"] if name == OPERATOR else [role_of(name)]
        )

    def _account(self, name: str, roles: list[Any]) -> dict[str, Any]:
        return {
            "user": name, "pwd": self.passwords[name], "roles": roles, "mechanisms": _MECHANISMS,
        }  # fmt: skip


async def _run(client: Client, command: str, about: dict[str, Any]) -> None:
    """Runs `createUser` and the like: what mongosh calls the name is the command's own value."""
    (_, name), *others = about.items()
    await client.admin.command({command: name, **dict(others)})


async def forget(client: Client) -> None:
    """Drops our users and roles, where mongod asks nobody who they are.

    They are made anew when it does: it lets its machine make the first only when there are none.
    """
    found = await client.admin.command("usersInfo", 1)
    there = {each["user"] for each in found["users"]}
    if SUPERVISOR in there:
        for name in there & {SUPERVISOR, OPERATOR, *RIGHTS}:
            await client.admin.command("dropUser", name)
        for each in (await client.admin.command("rolesInfo", 1))["roles"]:
            if each["role"] in map(role_of, RIGHTS):
                await client.admin.command("dropRole", each["role"])


def role_of(name: str) -> str:
    return f"mercato-{name}"

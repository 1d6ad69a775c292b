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
        await self._create(client, SUPERVISOR, ["root"])

    async def ensure(self, client: Client) -> None:
        """Brings roles and users up to date; `client` is logged in as the supervisor."""
        found = await client.admin.command("usersInfo", 1)
        there = {each["user"] for each in found["users"]}
        for name in filter(uses_mongo, RIGHTS):
            role = role_of(name)
            about = {"privileges": mongo_privileges(name, self.database), "roles": []}
            try:
                await client.admin.command({"createRole": role, **about})
            except OperationFailure as refusal:
                if refusal.code != _ROLE_EXISTS:
                    raise
                await client.admin.command({"updateRole": role, **about})
            if name not in there:
                await self._create(client, name, [role])
        if OPERATOR not in there:
            own = [{"role": role, "db": self.database} for role in ("readWrite", "dbAdmin")]
            await self._create(client, OPERATOR, [*own, "clusterMonitor"])

    async def _create(self, client: Client, name: str, roles: list[Any]) -> None:
        await client.admin.command(
            "createUser", name, pwd=self.passwords[name], roles=roles, mechanisms=_MECHANISMS
        )


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

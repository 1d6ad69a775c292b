"""What `MongoOAuth` and `MongoLinks` keep, in dictionaries; the same tests hold for both."""

from collections.abc import Sequence
from datetime import datetime

from mercato.user.model.oauth import Client, hashed
from mercato.user.model.oauth_codes import Code, Ticket
from mercato.user.model.sign_in import Identity


class MemoryOAuth:
    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.codes: dict[str, Code] = {}
        self.uses: dict[str, int] = {}
        self.sessions: dict[str, str] = {}
        self.tickets: dict[str, Ticket] = {}
        self.consents: dict[tuple[str, str], frozenset[str]] = {}

    async def add(self, client: Client) -> None:
        self.clients[client.id] = client

    async def get(self, client_id: str) -> Client | None:
        return self.clients.get(client_id)

    async def all(self) -> Sequence[Client]:
        return [self.clients[client_id] for client_id in sorted(self.clients)]

    async def remove(self, client_id: str) -> Client | None:
        client = self.clients.pop(client_id, None)
        self.consents = {key: v for key, v in self.consents.items() if key[1] != client_id}
        self.codes = {key: v for key, v in self.codes.items() if v.client_id != client_id}
        return client

    async def consented(self, user_id: str, client_id: str) -> frozenset[str]:
        return self.consents.get((user_id, client_id), frozenset())

    async def consent(
        self, user_id: str, client_id: str, scopes: frozenset[str], at: datetime
    ) -> None:
        self.consents[user_id, client_id] = await self.consented(user_id, client_id) | scopes

    async def keep_ticket(self, ticket: Ticket) -> None:
        self.tickets[ticket.id] = ticket

    async def take_ticket(self, ticket: str) -> Ticket | None:
        return self.tickets.pop(hashed(ticket), None)

    async def keep_code(self, code: Code) -> None:
        self.codes[code.id] = code

    async def code(self, text: str, client_id: str) -> Code | None:
        found = self.codes.get(hashed(text))
        return found if found and found.client_id == client_id else None

    async def use_code(self, code: str, client_id: str) -> tuple[Code, int, str] | None:
        found = await self.code(code, client_id)
        if found is None:
            return None
        before = self.uses.get(found.id, 0)
        self.uses[found.id] = before + 1
        return found, before, self.sessions.get(found.id, "")

    async def gave(self, code_id: str, session_id: str) -> bool:
        self.sessions[code_id] = session_id
        return code_id in self.codes and self.uses.get(code_id) == 1

    async def forget(self, user_id: str) -> None:
        self.tickets = {key: v for key, v in self.tickets.items() if v.user_id != user_id}
        self.codes = {key: v for key, v in self.codes.items() if v.user_id != user_id}


class MemoryLinks:
    def __init__(self) -> None:
        self.links: dict[tuple[str, str], str] = {}

    async def user_of(self, identity: Identity) -> str | None:
        return self.links.get((identity.issuer, identity.subject))

    async def link(self, identity: Identity, user_id: str, at: datetime) -> None:
        self.links.setdefault((identity.issuer, identity.subject), user_id)

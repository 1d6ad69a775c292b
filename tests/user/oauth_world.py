"""OAuth without a server: one user, clients, the platform's keys, a clock of the test's own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mercato.kernel.identity import new_id
from mercato.platform.tokens import KeyFile, Tokens, rotate
from mercato.user.model.account import OPERATOR, Profile, WrongCredentials
from mercato.user.model.oauth import (
    GRANTS,
    AuthorizationRequest,
    Client,
    s256,
)
from mercato.user.model.session import Device, RefreshTokens
from mercato.user.usecase.oauth import Authorizations, Clients
from mercato.user.usecase.oauth_codes import Redemption
from mercato.user.usecase.oauth_grants import Given, Grants, Proof, Wanted
from mercato.user.usecase.sessions import Sessions
from tests.user.memory_oauth import MemoryOAuth
from tests.user.memory_sessions import MemorySessions

ISSUER = "https://shop.example"
BACK = "https://app.example/back"
VERIFIER = "v" * 64
BROWSER = "b" * 43
SCOPES = "openid orders:read offline_access"
HERE = Device("192.0.2.1", "a test")


class World:
    """One user, two clients, everything that OAuth asks of others."""

    def __init__(self, folder: Path) -> None:
        rotate(folder / "keys.json", folder / "jwks.json")
        self.public = KeyFile(folder / "jwks.json")
        self.tokens = Tokens(
            "s" * 32, issuer=ISSUER, public=self.public, private=KeyFile(folder / "keys.json")
        )
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.ada = Profile(new_id(), "ada", "ada@example.com", "customer", self.now)
        self.recorded: list[tuple[str, dict[str, str]]] = []
        self.store, self.kept = MemorySessions(self.clock), MemoryOAuth()
        self.sessions = Sessions(
            self.store, self.kept, self, self.tokens, RefreshTokens("s" * 32), self, self.clock
        )
        self.clients = Clients(self.kept, self, self.clock)
        self.authorizations = Authorizations(self.kept, self.kept, self.login, self.clock)
        redemption = Redemption(self.kept, self.sessions, self, self.clock)
        self.grants = Grants(
            ISSUER, self.clients, redemption, self.sessions, self.tokens, self.clock
        )

    def clock(self) -> datetime:
        return self.now

    async def login(self, login: str, password: str, otp: str) -> Profile:
        if (login, password) != ("ada", "right"):
            raise WrongCredentials("the login or the password is wrong")
        return self.ada

    async def profiles(self, ids: Sequence[str]) -> dict[str, Profile]:
        return {self.ada.id: self.ada} if self.ada.id in ids else {}

    async def record(self, kind: str, **more: Any) -> None:
        self.recorded.append((kind, more.get("detail", {})))

    async def client(self, **more: Any) -> tuple[Client, Proof]:
        wish: dict[str, Any] = {"public": False, "scopes": SCOPES.split(), "grants": GRANTS} | more
        found, secret = await self.clients.add(OPERATOR, "App", [BACK], **wish)
        return found, Proof(found.id, secret)

    def request(self, client: Client, **more: str) -> AuthorizationRequest:
        asked = {"response_type": "code", "scope": SCOPES, "nonce": "n-1"}
        asked |= {"code_challenge": s256(VERIFIER), "code_challenge_method": "S256"}
        return AuthorizationRequest(client.id, BACK, **(asked | more))

    async def code(self, client: Client, **more: str) -> str:
        """Logs Ada in, and has her consent if she is asked."""
        asked = self.request(client, **more)
        _, code, ticket = await self.authorizations.log_in(asked, BROWSER, "ada", "right", "")
        return code or await self.authorizations.decide(asked, BROWSER, ticket, allowed=True)

    async def redeem(self, proof: Proof, code: str, **more: str) -> Given:
        wanted = {"redirect_uri": BACK, "verifier": VERIFIER} | more
        return await self.grants.exchange(
            proof, Wanted("authorization_code", code=code, **wanted), HERE
        )

    async def refresh(self, proof: Proof, token: str, scope: str = "") -> Given:
        wanted = Wanted("refresh_token", refresh_token=token, scope=scope)
        return await self.grants.exchange(proof, wanted, HERE)

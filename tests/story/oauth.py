"""Clients of a shop: registered as the operator does, and driven by Authlib."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet

from mercato.embedded.supervisor import Platform
from mercato.pb import oauth_pb2 as pb
from mercato.pb.oauth_pb2_grpc import OAuthServiceStub
from mercato.platform.rpc import Channels
from mercato.platform.tokens import Tokens
from tests.story.browser import Browser, answer_in
from tests.story.shop import PASSWORD, Customer, Shop

BACK = "https://app.example/back"
SCOPES = "openid profile email orders:read offline_access"
GRANTS = ("authorization_code", "refresh_token", "client_credentials")


@dataclass
class Program:
    """A registered client."""

    shop: Shop
    id: str
    secret: str = field(repr=False)

    @property
    def issuer(self) -> str:
        return self.shop.platform.environment["PUBLIC_URL"]

    def client(self, scope: str = SCOPES, **more: Any) -> AsyncOAuth2Client:
        method = "client_secret_basic" if self.secret else "none"
        given = {"token_endpoint_auth_method": method, "code_challenge_method": "S256"} | more
        return AsyncOAuth2Client(
            self.id, self.secret or None, scope=scope, redirect_uri=BACK, timeout=20, **given
        )

    async def tokens(self, buyer: Customer, scope: str = SCOPES, nonce: str = "") -> dict[str, Any]:
        """Has `buyer` log in and consent; returns what the token endpoint gives."""
        verifier = secrets.token_urlsafe(48)
        async with self.client(scope) as client, Browser(self.shop.url) as browser:
            url, state = client.create_authorization_url(
                f"{self.shop.url}/oauth/authorize", code_verifier=verifier, nonce=nonce
            )
            location = await browser.agree(url, buyer.email, PASSWORD)
            assert location.startswith(f"{BACK}?")
            assert answer_in(location)["iss"] == self.issuer
            token = await client.fetch_token(
                f"{self.shop.url}/oauth/token", authorization_response=location,
                state=state, code_verifier=verifier,
            )  # fmt: skip
        return dict(token)

    async def identity(self, token: dict[str, Any], nonce: str) -> CodeIDToken:
        """Returns the ID token's claims as Authlib validates them, by the published keys."""
        told = (await self.shop.http.get("/.well-known/openid-configuration")).json()
        keys = (await self.shop.http.get("/.well-known/jwks.json")).json()
        algorithms = told["id_token_signing_alg_values_supported"]
        read = jwt.decode(token["id_token"], KeySet.import_key_set(keys), algorithms=algorithms)
        claims = CodeIDToken(
            read.claims, read.header, {"iss": {"essential": True, "value": told["issuer"]}},
            {"nonce": nonce, "client_id": self.id, "access_token": token["access_token"]},
        )  # fmt: skip
        claims.validate()
        return claims


@asynccontextmanager
async def operator(platform: Platform) -> AsyncIterator[tuple[Channels, OAuthServiceStub]]:
    """The operator's own line to the user service."""
    channels = Channels(Tokens(platform.environment["JWT_SECRET"]), "cli")
    async with channels.open(platform.environment["USER_SERVICE"]) as channel:
        yield channels, OAuthServiceStub(channel)


async def registered(shop: Shop, **more: Any) -> Program:
    """Registers a client that may have everything, unless `more` says otherwise."""
    wish: dict[str, Any] = {
        "name": "A test's program", "redirect_uris": [BACK],
        "scopes": [*SCOPES.split(), "orders:write"], "grants": GRANTS,
    } | more  # fmt: skip
    async with operator(shop.platform) as (channels, stub):
        added = await channels.call(stub.AddOAuthClient, pb.AddOAuthClientRequest(**wish))
    return Program(shop, added.client.id, added.secret)

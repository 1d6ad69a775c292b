"""OAuth 2 and OpenID Connect, with Authlib's client as an independent peer."""

import asyncio
import time

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oidc.discovery import OpenIDProviderMetadata

from tests.story.browser import Browser
from tests.story.oauth import GRANTS, SCOPES, Program, registered
from tests.story.shop import PASSWORD, Customer, Shop


@pytest.fixture(scope="module")
async def program(shop: Shop) -> Program:
    return await registered(shop)


@pytest.fixture(scope="module")
async def ada(shop: Shop) -> Customer:
    return await shop.register("ada")


async def test_the_server_describes_itself_as_the_standards_say(shop: Shop) -> None:
    issuer = shop.platform.environment["PUBLIC_URL"]
    for url in (
        get_well_known_url(shop.url, external=True),
        f"{shop.url}/.well-known/openid-configuration",
    ):
        told = (await shop.http.get(url)).json()
        assert told["issuer"] == issuer
        assert told["code_challenge_methods_supported"] == ["S256"]
        # Authlib wants https of everybody; a laptop's shop is at http://127.0.0.1
        secure = {
            name: value.replace("http:", "https:") if isinstance(value, str) else value
            for name, value in told.items()
        }
        AuthorizationServerMetadata(secure).validate()
        # and RS256, which we leave out
        algorithms = [*told["id_token_signing_alg_values_supported"], "RS256"]
        secure |= {"id_token_signing_alg_values_supported": algorithms}
        OpenIDProviderMetadata(secure).validate()


async def test_a_code_with_pkce_becomes_tokens_that_an_independent_client_believes(
    shop: Shop, program: Program, ada: Customer
) -> None:
    token = await program.tokens(ada, nonce="n-0S6_WzA2Mj")
    assert token["token_type"] == "Bearer"
    assert set(token["scope"].split()) == set(SCOPES.split())
    claims = await program.identity(token, "n-0S6_WzA2Mj")
    assert claims["sub"] == ada.id
    assert abs(claims["auth_time"] - time.time()) < 60
    async with program.client(token=token) as client:
        told = (await client.get(f"{shop.url}/oauth/userinfo")).json()
        assert told == (await client.post(f"{shop.url}/oauth/userinfo")).json()
    assert (told["sub"], told["email"]) == (ada.id, ada.email)
    assert (told["email_verified"], "preferred_username" in told) == (False, True)


async def test_a_scope_opens_what_it_says_and_nothing_else(
    shop: Shop, program: Program, ada: Customer
) -> None:
    token = await program.tokens(ada, "openid orders:read")
    assert "refresh_token" not in token
    async with program.client(token=token) as client:
        assert (await client.get(f"{shop.url}/api/orders")).status_code == 200
        assert set((await client.get(f"{shop.url}/oauth/userinfo")).json()) == {"sub"}
        for method, path in (
            ("POST", "/api/orders"), ("GET", "/api/users/me"), ("PATCH", "/api/users/me"),
        ):  # fmt: skip
            refused = await client.request(method, f"{shop.url}{path}", json={})
            assert refused.status_code == 403
            assert refused.json()["code"] == "insufficient-scope"
            assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


async def test_a_refresh_token_follows_another(shop: Shop, program: Program, ada: Customer) -> None:
    token = await program.tokens(ada)
    async with program.client(token=token) as client:
        fresh = await client.refresh_token(f"{shop.url}/oauth/token")
        assert fresh["refresh_token"] != token["refresh_token"]
        assert (await client.get(f"{shop.url}/api/orders")).status_code == 200
    thief = await registered(shop)
    async with thief.client() as client:
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.refresh_token(f"{shop.url}/oauth/token", fresh["refresh_token"])


async def test_what_is_revoked_is_over_at_once(shop: Shop, program: Program, ada: Customer) -> None:
    token = await program.tokens(ada)
    async with program.client(token=token) as client:
        ask = f"{shop.url}/oauth/introspect"
        known = (await client.introspect_token(ask, token["access_token"])).json()
        assert (known["active"], known["sub"], known["client_id"]) == (True, ada.id, program.id)
        gone = await client.revoke_token(f"{shop.url}/oauth/revoke", token["refresh_token"])
        assert gone.status_code == 200
        assert (await client.introspect_token(ask, token["access_token"])).json() == {
            "active": False
        }
        until = time.monotonic() + 3
        while (await client.get(f"{shop.url}/api/orders")).status_code != 401:
            assert time.monotonic() < until, "a revoked token still opens the door"
            await asyncio.sleep(0.1)


async def test_a_client_in_its_own_name_reads_orders_and_does_nothing_else(
    shop: Shop, program: Program
) -> None:
    async with program.client("orders:read") as client:
        token = await client.fetch_token(f"{shop.url}/oauth/token", grant_type=GRANTS[2])
        assert "refresh_token" not in token
        orders = await client.get(f"{shop.url}/api/orders")
        assert orders.status_code == 200, orders.text
        for method, path in (
            ("POST", "/api/orders"), ("GET", "/api/users/me"), ("POST", "/api/inventory"),
            ("GET", "/oauth/userinfo"),
        ):  # fmt: skip
            assert (await client.request(method, f"{shop.url}{path}")).status_code == 403


async def test_a_public_client_needs_no_secret_and_cannot_have_one(
    shop: Shop, ada: Customer
) -> None:
    app = await registered(shop, public=True, grants=GRANTS[:2])
    token = await app.tokens(ada)
    async with app.client(token=token) as client:
        assert (await client.refresh_token(f"{shop.url}/oauth/token"))["access_token"]
    app.secret = "made up"
    async with app.client(token=token) as client:
        with pytest.raises(OAuthError, match="invalid_client"):
            await client.refresh_token(f"{shop.url}/oauth/token")


async def test_a_second_authorization_does_not_ask_again(shop: Shop, ada: Customer) -> None:
    program = await registered(shop)
    await program.tokens(ada)
    async with program.client() as client, Browser(shop.url) as browser:
        url, _ = client.create_authorization_url(
            f"{shop.url}/oauth/authorize", code_verifier="v" * 43
        )
        step = await browser.log_in(await browser.open(url), ada.email, PASSWORD)
    assert step.status_code == 303


async def test_a_clients_proof_is_read_in_one_way_only(shop: Shop, program: Program) -> None:
    url, form = f"{shop.url}/oauth/token", {"grant_type": "client_credentials"}
    basic = httpx2.BasicAuth(program.id, program.secret)
    wrong = httpx2.BasicAuth(program.id, "wrong")
    posted = form | {"client_id": program.id, "client_secret": program.secret}
    assert (await shop.http.post(url, data=form, auth=basic)).status_code == 200
    good = await shop.http.post(url, data=posted)
    assert (good.status_code, good.headers["Cache-Control"]) == (200, "no-store")
    both = await shop.http.post(url, data=posted, auth=basic)
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    refused = await shop.http.post(url, data=form, auth=wrong)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert refused.headers["WWW-Authenticate"].startswith("Basic ")
    nobody = await shop.http.post(url, data=form)
    assert (nobody.status_code, nobody.json()["error"]) == (401, "invalid_client")
    twice = await shop.http.post(
        url, content=b"grant_type=client_credentials&grant_type=client_credentials", auth=basic,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")
    json = await shop.http.post(url, json=posted)
    assert (json.status_code, json.json()["error"]) == (400, "invalid_request")

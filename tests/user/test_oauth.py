"""From a client's request to its first tokens: login, consent, the code and its one use."""

from datetime import timedelta
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from mercato.kernel.errors import AppError, Forbidden
from mercato.kernel.identity import Caller, new_id
from mercato.user.model.account import OPERATOR, WrongCredentials
from mercato.user.model.oauth import (
    AccessDenied,
    InvalidClient,
    InvalidGrant,
    UnknownClient,
    at_hash,
)
from mercato.user.usecase.oauth import LoginExpired
from mercato.user.usecase.oauth_grants import Proof
from tests.user.oauth_world import BACK, BROWSER, ISSUER, SCOPES, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_code_becomes_tokens_with_the_scopes_that_were_consented_to(world: World) -> None:
    client, proof = await world.client()
    given = await world.redeem(proof, await world.code(client))
    caller = world.tokens.caller(given.access_token)
    assert (caller.id, caller.role, caller.scopes) == (
        world.ada.id, "customer", frozenset(SCOPES.split())
    )  # fmt: skip
    assert given.refresh_token
    assert world.recorded[0] == ("client.registered", {"client_id": client.id, "name": "App"})


async def test_an_id_token_is_for_its_client_and_its_nonce(world: World) -> None:
    client, proof = await world.client()
    given = await world.redeem(proof, await world.code(client))
    keys = KeySet.import_key_set({"keys": world.tokens.published()})
    read = jwt.decode(given.id_token, keys, algorithms=["ES256"])
    assert read.claims == {
        "iss": ISSUER, "sub": world.ada.id, "aud": client.id, "nonce": "n-1",
        "iat": int(world.now.timestamp()), "exp": int(world.now.timestamp()) + 900,
        "auth_time": int(world.now.timestamp()),
        "at_hash": at_hash(given.access_token, "ES256"),
    }  # fmt: skip
    with pytest.raises(AppError):
        world.tokens.caller(given.id_token)


def test_at_hash_is_that_of_the_standard() -> None:
    # OpenID Connect Core, A.3
    token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    assert at_hash(token, "RS256") == "77QmUPtjPfzWtF2AnpK9RQ"


async def test_without_openid_or_offline_access_neither_token_is_given(world: World) -> None:
    client, proof = await world.client()
    given = await world.redeem(proof, await world.code(client, scope="orders:read"))
    assert (given.id_token, given.refresh_token) == ("", "")


async def test_a_second_use_of_a_code_ends_what_the_first_one_gave(world: World) -> None:
    client, proof = await world.client()
    code = await world.code(client)
    given = await world.redeem(proof, code)
    session = world.tokens.caller(given.access_token).session
    assert await world.sessions.living(session)
    with pytest.raises(InvalidGrant):
        await world.redeem(proof, code)
    assert not await world.sessions.living(session)
    with pytest.raises(InvalidGrant):
        await world.refresh(proof, given.refresh_token)


@pytest.mark.parametrize(
    "wrong", [{"verifier": "w" * 64}, {"verifier": ""}, {"redirect_uri": BACK + "/"}]
)
async def test_a_failed_attempt_uses_the_code_up(world: World, wrong: dict[str, str]) -> None:
    client, proof = await world.client()
    code = await world.code(client)
    for more in (wrong, {}):
        with pytest.raises(InvalidGrant):
            await world.redeem(proof, code, **more)
    assert await world.sessions.of(world.ada.id) == []


async def test_a_code_expires_in_a_minute(world: World) -> None:
    client, proof = await world.client()
    code = await world.code(client)
    world.now += timedelta(seconds=60)
    with pytest.raises(InvalidGrant):
        await world.redeem(proof, code)


async def test_another_client_can_neither_use_a_code_nor_spoil_it(world: World) -> None:
    client, proof = await world.client()
    _, thief = await world.client()
    code = await world.code(client)
    with pytest.raises(InvalidGrant):
        await world.redeem(thief, code)
    assert (await world.redeem(proof, code)).access_token


async def test_a_client_proves_itself_before_anything_is_looked_at(world: World) -> None:
    client, proof = await world.client()
    code = await world.code(client)
    for wrong in (Proof(client.id), Proof(client.id, "x"), Proof(new_id(), proof.secret)):
        with pytest.raises(InvalidClient):
            await world.redeem(wrong, code)
    assert (await world.redeem(proof, code)).access_token


async def test_consent_is_asked_for_once_and_again_for_more(world: World) -> None:
    client, _ = await world.client()
    await world.code(client, scope="openid")
    log_in = world.authorizations.log_in
    known = world.request(client, scope="openid")
    assert (await log_in(known, BROWSER, "ada", "right", ""))[1]
    more = world.request(client, scope="openid orders:read")
    assert not (await log_in(more, BROWSER, "ada", "right", ""))[1]
    insisting = world.request(client, scope="openid", prompt="consent")
    assert not (await log_in(insisting, BROWSER, "ada", "right", ""))[1]
    other, _ = await world.client()
    theirs = world.request(other, scope="openid")
    assert not (await log_in(theirs, BROWSER, "ada", "right", ""))[1]


async def test_who_says_no_gives_nothing(world: World) -> None:
    client, _ = await world.client()
    asked = world.request(client)
    _, _, ticket = await world.authorizations.log_in(asked, BROWSER, "ada", "right", "")
    with pytest.raises(AccessDenied):
        await world.authorizations.decide(asked, BROWSER, ticket, allowed=False)
    assert await world.kept.consented(world.ada.id, client.id) == frozenset()
    with pytest.raises(LoginExpired):
        await world.authorizations.decide(asked, BROWSER, ticket, allowed=True)


async def test_a_ticket_serves_its_own_browser_and_request_for_ten_minutes(world: World) -> None:
    client, _ = await world.client()
    asked = world.request(client, scope="openid")
    wider = world.request(client)
    for request, browser, wait_s in ((asked, "x" * 43, 0), (wider, BROWSER, 0),
                                     (asked, BROWSER, 600)):  # fmt: skip
        _, _, ticket = await world.authorizations.log_in(asked, BROWSER, "ada", "right", "")
        world.now += timedelta(seconds=wait_s)
        with pytest.raises(LoginExpired):
            await world.authorizations.decide(request, browser, ticket, allowed=True)
    with pytest.raises(LoginExpired):
        await world.authorizations.decide(asked, BROWSER, "no ticket", allowed=True)


async def test_of_a_sign_in_that_has_begun_comes_nothing_once_all_sessions_are_ended(
    world: World,
) -> None:
    client, proof = await world.client()
    code = await world.code(client)
    again = world.request(client, prompt="consent")
    _, _, ticket = await world.authorizations.log_in(again, BROWSER, "ada", "right", "")
    await world.sessions.end_all(world.ada.id)  # as a new password does
    with pytest.raises(InvalidGrant):
        await world.redeem(proof, code)
    with pytest.raises(LoginExpired):
        await world.authorizations.decide(again, BROWSER, ticket, allowed=True)


async def test_nothing_is_kept_of_who_has_not_logged_in(world: World) -> None:
    client, _ = await world.client()
    asked = world.request(client)
    await world.authorizations.begin(asked)
    with pytest.raises(WrongCredentials):
        await world.authorizations.log_in(asked, BROWSER, "ada", "wrong", "")
    assert (world.kept.tickets, world.kept.codes) == ({}, {})


async def test_a_client_that_is_removed_can_do_nothing_any_more(world: World) -> None:
    client, proof = await world.client()
    given = await world.redeem(proof, await world.code(client))
    code = await world.code(client)
    await world.clients.remove(OPERATOR, client.id)
    assert world.recorded[-1] == ("client.removed", {"client_id": client.id, "name": "App"})
    with pytest.raises(InvalidClient):
        await world.redeem(proof, code)
    with pytest.raises(InvalidClient):
        await world.refresh(proof, given.refresh_token)
    with pytest.raises(UnknownClient):
        await world.code(client)


@pytest.mark.parametrize("who", [Caller("gateway", "service"), Caller(new_id(), "admin")])
async def test_the_operator_alone_registers_clients(world: World, who: Caller) -> None:
    client, _ = await world.client()
    with pytest.raises(Forbidden):
        await world.clients.add(
            who, "App", [BACK], public=False, scopes=["openid"], grants=["authorization_code"]
        )
    with pytest.raises(Forbidden):
        await world.clients.all(who)
    with pytest.raises(Forbidden):
        await world.clients.remove(who, client.id)

"""What a client does with its tokens: refresh, revoke, introspect; and those of its own name."""

from pathlib import Path

import pytest

from mercato.user.model.oauth import (
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedTokenType,
)
from mercato.user.usecase.oauth_grants import Proof, Wanted
from tests.user.oauth_world import HERE, SCOPES, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_refresh_token_is_its_clients_own(world: World) -> None:
    client, proof = await world.client()
    _, thief = await world.client()
    given = await world.redeem(proof, await world.code(client))
    with pytest.raises(InvalidGrant):
        await world.refresh(thief, given.refresh_token)
    again = await world.refresh(proof, given.refresh_token)
    assert again.refresh_token not in ("", given.refresh_token)


async def test_fewer_scopes_can_be_asked_for_and_never_more(world: World) -> None:
    client, proof = await world.client()
    given = await world.redeem(proof, await world.code(client, scope="openid offline_access"))
    for scope in ("orders:read", "root", "openid root"):
        with pytest.raises(InvalidScope):
            await world.refresh(proof, given.refresh_token, scope)
    less = await world.refresh(proof, given.refresh_token, "openid")
    assert world.tokens.caller(less.access_token).scopes == {"openid"}
    all_of_it = await world.refresh(proof, less.refresh_token)
    assert set(all_of_it.scopes) == {"openid", "offline_access"}


async def test_a_client_in_its_own_name_is_no_user(world: World) -> None:
    client, proof = await world.client()
    given = await world.grants.exchange(proof, Wanted("client_credentials"), HERE)
    caller = world.tokens.caller(given.access_token)
    assert (caller.id, caller.role, caller.session, caller.scopes) == (
        client.id, "client", "", frozenset(("orders:read",))
    )  # fmt: skip
    assert (given.refresh_token, given.id_token) == ("", "")
    with pytest.raises(InvalidScope):
        await world.grants.exchange(proof, Wanted("client_credentials", scope="openid"), HERE)


async def test_a_grant_that_a_client_has_not_registered_for_is_refused(world: World) -> None:
    _, proof = await world.client(public=True, grants=["authorization_code"])
    for grant in ("client_credentials", "refresh_token"):
        with pytest.raises(UnauthorizedClient):
            await world.grants.exchange(proof, Wanted(grant), HERE)
    for grant in ("password", "", "implicit"):
        with pytest.raises(UnsupportedGrantType):
            await world.grants.exchange(proof, Wanted(grant), HERE)


async def test_revoking_either_token_ends_the_session(world: World) -> None:
    client, proof = await world.client()
    for kind in ("access_token", "refresh_token"):
        given = await world.redeem(proof, await world.code(client))
        await world.grants.revoke(proof, getattr(given, kind))
        assert await world.sessions.of(world.ada.id) == []
        await world.grants.revoke(proof, getattr(given, kind))


async def test_nobody_revokes_or_reads_what_is_not_theirs(world: World) -> None:
    client, proof = await world.client()
    _, other = await world.client()
    given = await world.redeem(proof, await world.code(client))
    first_party = await world.sessions.open(world.ada, HERE)
    for token in (given.access_token, given.refresh_token, first_party.access_token,
                  first_party.refresh_token, "noise", ""):  # fmt: skip
        await world.grants.revoke(other, token)
        assert await world.grants.introspect(other, token) == {}
    assert len(await world.sessions.of(world.ada.id)) == 2
    with pytest.raises(InvalidClient):
        await world.grants.revoke(Proof(client.id, "x"), given.access_token)


async def test_introspection_tells_what_is_true_now(world: World) -> None:
    client, proof = await world.client()
    given = await world.redeem(proof, await world.code(client))
    access = await world.grants.introspect(proof, given.access_token)
    refresh = await world.grants.introspect(proof, given.refresh_token)
    for said in (access, refresh):
        assert (said["sub"], said["client_id"]) == (world.ada.id, client.id)
        assert set(said["scope"].split()) == set(SCOPES.split())
    assert (access["token_type"], refresh["token_type"]) == ("Bearer", "refresh_token")
    await world.sessions.end_all(world.ada.id)
    assert await world.grants.introspect(proof, given.access_token) == {}
    assert await world.grants.introspect(proof, given.refresh_token) == {}


async def test_a_clients_own_token_cannot_be_revoked_and_says_so(world: World) -> None:
    _, proof = await world.client()
    given = await world.grants.exchange(proof, Wanted("client_credentials"), HERE)
    assert (await world.grants.introspect(proof, given.access_token))["scope"] == "orders:read"
    with pytest.raises(UnsupportedTokenType):
        await world.grants.revoke(proof, given.access_token)


async def test_a_public_client_may_not_ask_about_tokens(world: World) -> None:
    _, proof = await world.client(public=True, grants=["authorization_code"])
    with pytest.raises(UnauthorizedClient):
        await world.grants.introspect(proof, "anything")

"""Logging in: by e-mail or username, and what a wrong login does not tell."""

import asyncio

import bcrypt
import pytest
from bson import ObjectId

from mercato.kernel.identity import new_id
from mercato.platform.mongo import Store
from mercato.platform.rpc.refusals import Refused
from mercato.platform.tokens import ACCESS_TTL_S
from tests.user.conftest import PASSWORD, Client, fresh_email


async def hash_of(store: Store, user_id: str) -> str:
    document = await store["users"].find_one({"_id": ObjectId(user_id)})
    assert document is not None
    return str(document["password_hash"])


async def test_an_email_or_a_username_logs_in_in_any_case(client: Client) -> None:
    email = fresh_email()
    who = await client.register(email, username="Login.Name")
    logins = ({"email": email.upper()}, {"username": "login.NAME"}, {"username": email})
    for login in logins:
        answer = await client.login(**login)
        caller = client.tokens.caller(answer.token)
        assert (caller.id, caller.role) == (who.id, "customer")
        assert caller.session
        assert answer.expires_in == ACCESS_TTL_S


async def test_a_wrong_login_is_one_and_the_same_answer(client: Client, store: Store) -> None:
    email, legacy = fresh_email(), fresh_email()
    await client.register(email, username="known-name")
    await with_bcrypt(client, store, legacy, "old password")
    attempts = [
        client.login("wrong password", email=email),
        client.login("wrong password", username="known-name"),
        client.login("wrong password", email=fresh_email()),
        client.login(PASSWORD, username="nobody-at-all"),
        client.login("", email=email),
        client.login("nul\0", email=email),
        client.login("x" * 1024, email=email),
        client.login("x" * 1024, email=legacy),
        client.login("wrong", email=legacy),
        client.login("wrong", username="$where{}"),
        client.login("wrong", email="not an address"),
    ]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert all(isinstance(answer, Refused) for answer in answers), answers
    assert len({(a.code, a.slug, a.detail, a.violations) for a in answers}) == 1  # type: ignore[union-attr]
    assert answers[0].slug == "wrong-credentials"  # type: ignore[union-attr]


async def test_a_login_without_a_name_is_told_so(client: Client) -> None:
    with pytest.raises(Refused) as refusal:
        await client.login()
    assert refusal.value.slug == "invalid"
    assert [violation.field for violation in refusal.value.violations] == ["email"]


async def with_bcrypt(client: Client, store: Store, email: str, password: str) -> str:
    """Registers somebody whose hash another system has made; returns the id."""
    who = await client.register(email)
    old = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, b"2a")).decode()
    await store["users"].update_one({"_id": ObjectId(who.id)}, {"$set": {"password_hash": old}})
    return who.id


async def test_a_bcrypt_hash_becomes_argon2id_at_the_first_login(
    client: Client, store: Store
) -> None:
    email = fresh_email()
    user_id = await with_bcrypt(client, store, email, "old password")
    with pytest.raises(Refused):
        await client.login("another password", email=email)
    assert (await hash_of(store, user_id)).startswith("$2a$")
    await client.login("old password", email=email)
    upgraded = await hash_of(store, user_id)
    assert upgraded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await client.login("old password", email=email)
    assert await hash_of(store, user_id) == upgraded
    assert (await client.profile(user_id)).version == 1


async def test_a_flood_of_logins_is_refused_and_not_queued_for_ever(client: Client) -> None:
    attempts = (client.login("wrong", email=f"{new_id()}@example.com") for _ in range(150))
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    slugs = {answer.slug for answer in answers if isinstance(answer, Refused)}
    assert slugs <= {"wrong-credentials", "exhausted"}
    assert "exhausted" in slugs
    who = await client.register()
    assert (await client.profile(who.id)).id == who.id

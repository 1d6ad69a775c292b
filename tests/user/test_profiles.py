"""Profiles: whose they are, how they change, and what the cache holds of them."""

import asyncio
import json

import pytest
from bson import ObjectId
from redis.asyncio import Redis

from mercato.kernel.identity import new_id
from mercato.pb import user_pb2 as pb
from mercato.platform.mongo import Store
from mercato.platform.rpc.refusals import Refused
from tests.user.conftest import ADMIN, PASSWORD, Client, fresh_email, until
from tests.user.test_registration import refused


async def test_somebody_elses_profile_is_not_found(client: Client) -> None:
    ann, bob = await client.register(), await client.register()
    for work in (
        client.profile(bob.id, ann),
        client.profile(new_id(), ann),
        client.update(bob.id, ann, username="mine-now"),
        client.update(bob.id, ann, password="long enough", current_password=PASSWORD),
        client.update(new_id(), ADMIN, username="nobodys"),
        client.profile(new_id(), ADMIN),
    ):
        await refused(work, "user-not-found")
    assert (await client.profile(bob.id, ADMIN)).version == 1


async def test_profiles_in_bulk_are_for_services_only(client: Client) -> None:
    ann, bob = await client.register(), await client.register()
    request = pb.BatchGetUserProfilesRequest(ids=[ann.id, new_id(), bob.id, ann.id])
    for _ in range(2):  # from the database, then from the cache
        answer = await client.call("BatchGetUserProfiles", request, service="order")
        assert sorted(who.id for who in answer.profiles) == sorted((ann.id, bob.id))
    for asking in (ann, ADMIN):
        await refused(client.call("BatchGetUserProfiles", request, asking), "forbidden")


async def test_an_update_changes_what_it_names(client: Client) -> None:
    who = await client.register(username="before-it")
    email = fresh_email()
    changed = await client.update(who.id, who, username="After-It", email=email.upper())
    assert (changed.username, changed.email, changed.version) == ("After-It", email, 2)
    assert await client.profile(who.id, who) == changed
    assert await client.update(who.id, who) == changed
    assert await client.update(who.id, who, username="After-It") == changed
    assert (await client.login(email=email)).token
    assert (await client.login(username="after-it")).token


async def test_an_update_takes_nothing_that_another_has(client: Client) -> None:
    email = fresh_email()
    await client.register(email, username="Occupied")
    who = await client.register()
    work = client.update(who.id, who, email=email, username="occupied")
    assert set(await refused(work, "email-taken")) == {"email", "username"}
    work = client.update(who.id, ADMIN, username="occupied")
    assert set(await refused(work, "username-taken")) == {"username"}
    assert (await client.profile(who.id, who)).version == 1


async def test_of_many_who_change_to_one_username_one_gets_it(client: Client) -> None:
    people = [await client.register() for _ in range(10)]
    wishes = (client.update(who.id, who, username="much-wanted") for who in people)
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, Refused)]
    assert [refusal.slug for refusal in refusals] == ["username-taken"] * 9


async def test_concurrent_updates_of_one_profile_are_all_counted(client: Client) -> None:
    who = await client.register()
    emails = [fresh_email() for _ in range(10)]
    answers = await asyncio.gather(*(client.update(who.id, who, email=e) for e in emails))
    assert sorted(answer.version for answer in answers) == list(range(2, 12))
    last = max(answers, key=lambda answer: answer.version)
    assert await client.profile(who.id, who) == last


async def test_a_new_password_needs_the_present_one(client: Client) -> None:
    email = fresh_email()
    who = await client.register(email)
    for given in ({}, {"current_password": "wrong password"}, {"current_password": ""}):
        work = client.update(who.id, who, password="new password", **given)
        assert set(await refused(work, "current-password-wrong")) == {"current_password"}
    assert (await client.login(email=email)).token
    await client.update(who.id, who, password="new password", current_password=PASSWORD)
    await refused(client.login(email=email), "wrong-credentials")
    assert (await client.login("new password", email=email)).token


async def test_an_admin_sets_anothers_password_but_proves_his_own(client: Client) -> None:
    admin = await client.register(role="admin", service="cli")
    email = fresh_email()
    who = await client.register(email)
    await client.update(who.id, admin, password="set by an admin")
    assert (await client.login("set by an admin", email=email)).token
    work = client.update(admin.id, admin, password="without proof")
    await refused(work, "current-password-wrong")


async def test_of_two_password_changes_at_once_one_wins(client: Client) -> None:
    email = fresh_email()
    who = await client.register(email)
    words = [f"new password {n}" for n in range(6)]
    changes = (
        client.update(who.id, who, password=word, current_password=PASSWORD) for word in words
    )
    answers = await asyncio.gather(*changes, return_exceptions=True)
    won = [word for word, answer in zip(words, answers, strict=True) if _went_through(answer)]
    assert len(won) == 1
    assert (await client.login(won[0], email=email)).token


def _went_through(answer: object) -> bool:
    if isinstance(answer, Refused):
        assert answer.slug in ("stale", "current-password-wrong")
    return not isinstance(answer, BaseException)


async def test_every_bad_field_of_an_update_is_named(client: Client) -> None:
    who = await client.register()
    work = client.update(who.id, who, username="", email="@", password="x")
    assert set(await refused(work, "invalid")) == {"username", "email", "password"}


async def test_a_service_may_not_change_a_profile(client: Client) -> None:
    who = await client.register()
    request = pb.UpdateProfileRequest(id=who.id, username="by-service")
    await refused(client.call("UpdateUserProfile", request, service="order"), "forbidden")


async def test_the_cache_holds_the_profile_and_no_hash(client: Client, redis: Redis) -> None:
    who = await client.register()
    await client.profile(who.id, who)
    version, key, value = str(await redis.get(f"user:{who.id}")).split(" ", 2)
    assert (version, key) == ("1", f"user:{who.id}")
    assert set(json.loads(value)) == {
        "id",
        "username",
        "email",
        "role",
        "created_at",
        "version",
        "email_verified",
    }
    await client.update(who.id, who, email=fresh_email(), password="a newer one",
                        current_password=PASSWORD)  # fmt: skip
    everything = [str(await redis.get(key)) for key in await redis.keys("*")]
    assert everything
    assert not [text for text in everything if "$argon2" in text or "$2" in text]


async def test_no_answer_and_no_event_holds_a_hash(client: Client, store: Store) -> None:
    who = await client.register()
    changed = await client.update(who.id, who, password="a newer one", current_password=PASSWORD)
    batch = pb.BatchGetUserProfilesRequest(ids=[who.id])
    answers = [changed, await client.profile(who.id), await client.call(
        "BatchGetUserProfiles", batch, service="order")]  # fmt: skip
    rows = await store["user_outbox"].find({"about": {"$regex": f"^{who.id}"}}).to_list()
    assert {row["subject"] for row in rows} == {
        "user.registered", "welcome", "user.changed", "password-changed",
    }  # fmt: skip
    assert "$argon2" not in repr(answers) + repr(rows)


async def test_a_stale_profile_leaves_the_cache_even_if_its_changer_died(
    client: Client, store: Store, redis: Redis
) -> None:
    who = await client.register()
    stale = await client.profile(who.id, who)
    change = {"$set": {"username": "changed-directly"}, "$inc": {"version": 1}}
    await store["users"].update_one({"_id": ObjectId(who.id)}, change)
    assert await client.profile(who.id, who) == stale
    row = await store["user_outbox"].find_one({"_id": f"{who.id}:user.registered"})
    assert row is not None
    row |= {"_id": f"{who.id}:2:user.changed", "stale": {f"user:{who.id}": 2}}
    row |= {"state": "open", "not_before": row["created_at"]}
    row.pop("closed_at", None)
    await store["user_outbox"].insert_one(row)

    async def seen() -> bool:
        return (await client.profile(who.id, who)).username == "changed-directly"

    await until(seen)


@pytest.mark.parametrize("bad", ["", "me", "F" * 24, "0" * 23, "0" * 25])
async def test_what_is_no_id_is_invalid(client: Client, bad: str) -> None:
    assert set(await refused(client.profile(bad, ADMIN), "invalid")) == {"id"}

"""Registering: who becomes what, and that nothing is given twice."""

import asyncio
import re
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure, WriteError

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import Caller
from mercato.pb import user_pb2 as pb
from mercato.platform.mongo import Store
from mercato.platform.rpc.refusals import Refused
from tests.user.conftest import ADMIN, PASSWORD, Client, fresh_email


async def refused(work: Any, slug: str) -> dict[str, str]:
    """Awaits `work`, which must be refused as `slug`; returns what it says by field."""
    with pytest.raises(Refused) as refusal:
        await work
    assert refusal.value.slug == slug
    return {violation.field: violation.detail for violation in refusal.value.violations}


async def test_who_registers_is_a_customer_from_now_on(client: Client) -> None:
    email = fresh_email().replace("shopper", "Shopper")
    who = await client.register(email, username="New.Shopper")
    profile = await client.profile(who.id, who)
    assert profile.id == who.id
    assert (profile.username, profile.email) == ("New.Shopper", email.lower())
    assert (profile.role, profile.version) == ("customer", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", profile.created_at)


async def test_a_username_is_made_from_the_email(client: Client) -> None:
    names = []
    for host in ("one", "two", "three"):
        who = await client.register(f"mary.major@{host}.example")
        names.append((await client.profile(who.id)).username)
    assert names[0] == "mary.major"
    assert all(re.fullmatch(r"mary\.major-[0-9a-f]{6}", name) for name in names[1:])


async def test_of_20_at_once_with_one_email_one_registers(client: Client, store: Store) -> None:
    email = fresh_email()
    wishes = (client.register(email, username=f"racer{n}") for n in range(20))
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(answers) - len(refusals) == 1
    assert {refusal.slug for refusal in refusals} == {"email-taken"}
    assert {violation.field for refusal in refusals for violation in refusal.violations} == {
        "email"
    }
    assert await store["users"].count_documents({"email": email}) == 1


async def test_of_20_at_once_with_one_username_one_registers(client: Client) -> None:
    wishes = (client.register(username=f"Popula{'rR'[n % 2]}") for n in range(20))
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(refusals) == 19
    assert {refusal.slug for refusal in refusals} == {"username-taken"}


async def test_20_at_once_without_a_username_all_get_one(client: Client) -> None:
    emails = [f"same.name@host{n}.example" for n in range(20)]
    people = await asyncio.gather(*(client.register(email) for email in emails))
    assert len({(await client.profile(who.id)).username for who in people}) == 20


async def test_a_common_password_is_named_beside_the_other_bad_fields(client: Client) -> None:
    register = client.register("nobody", username="x", password="iloveyou")
    assert set(await refused(register, "invalid")) == {"email", "username", "password"}
    who = await client.register()
    change = client.update(who.id, who, email="nobody", password="iloveyou")
    assert set(await refused(change, "invalid")) == {"email", "password"}
    only = client.register(password="iloveyou")
    assert set(await refused(only, "password-too-common")) == {"password"}


async def test_both_are_named_when_both_are_taken(client: Client) -> None:
    email = fresh_email()
    await client.register(email, username="taken-both")
    again = client.register(email.upper(), username="TAKEN-both")
    assert set(await refused(again, "email-taken")) == {"email", "username"}
    other = client.register(username="Taken-Both")
    assert set(await refused(other, "username-taken")) == {"username"}
    assert set(await refused(client.register(email), "email-taken")) == {"email"}


async def test_every_bad_field_is_named(client: Client) -> None:
    request = pb.UserRequest(username="-", password="short", email="nowhere", role="king")
    found = await refused(client.call("RegisterUser", request), "invalid")
    assert set(found) == {"username", "password", "email", "role"}


async def test_a_password_of_a_megabyte_is_refused(client: Client) -> None:
    big = "x" * 1_000_000
    assert set(await refused(client.register(password=big), "invalid")) == {"password"}
    assert set(await refused(client.login(big, email="a@example.com"), "invalid")) == {"password"}


@pytest.mark.parametrize(
    "password", ["😀" * 8, "a\0b\0c\0d\0", "pass word ", "é" * 256, "\x7f" * 8]
)
async def test_an_odd_password_is_a_password(client: Client, password: str) -> None:
    email = fresh_email()
    await client.register(email, password=password)
    assert (await client.login(password, email=email)).token
    await refused(client.login(password + "\0", email=email), "wrong-credentials")


async def test_only_an_admin_or_the_operator_appoints_an_admin(client: Client) -> None:
    who = await client.register(role="admin", service="cli")
    assert (await client.profile(who.id)).role == "admin"

    def wish(username: str) -> pb.UserRequest:
        return pb.UserRequest(
            username=username, email=fresh_email(), password=PASSWORD, role="admin"
        )

    answer = await client.call("RegisterUser", wish("appointed"), as_=ADMIN)
    assert (await client.profile(answer.id)).role == "admin"
    customer = await client.register()
    for asking, service in ((None, "gateway"), (customer, "gateway"), (None, "order")):
        work = client.call("RegisterUser", wish("usurper"), as_=asking, service=service)
        await refused(work, "forbidden")


async def test_the_fact_and_the_welcome_are_written_once(client: Client, store: Store) -> None:
    email = fresh_email()
    who = await client.register(email, username="welcomed")
    await refused(client.register(email), "email-taken")
    rows = await store["user_outbox"].find({"_id": {"$regex": f"^{who.id}:"}}).to_list()
    by_id = {row["_id"]: row for row in rows}
    assert set(by_id) == {f"{who.id}:user.registered", f"{who.id}:welcome"}
    assert by_id[f"{who.id}:user.registered"]["payload"] == {
        "user_id": who.id, "username": "welcomed",
    }  # fmt: skip
    letter = by_id[f"{who.id}:welcome"]["payload"]
    request = letter.pop("request")  # from which the link is made, by a key that is not here
    assert letter == {"to_email": email, "username": "welcomed"}
    assert re.fullmatch("[0-9a-f]{32}", request)
    assert not await store["user_outbox"].count_documents({"payload.to_email": email, "about": ""})


async def test_the_database_takes_no_account_without_a_hash(client: Client, store: Store) -> None:
    who = await client.register()
    one = {"_id": ObjectId(who.id)}
    for change in ({"password_hash": "plain"}, {"email": "UPPER@x"}, {"role": "king"}):
        with pytest.raises(WriteError):
            await store["users"].update_one(one, {"$set": change})
    with pytest.raises((WriteError, OperationFailure)):
        await store["users"].insert_one({"email": fresh_email()})


async def test_the_demo_accounts_are_there_in_the_embedded_platform(
    client: Client, user_platform: Platform
) -> None:
    roles = {}
    for email, password in user_platform.logins.items():
        token = (await client.login(password, email=email)).token
        roles[email] = client.tokens.caller(token).role
    assert sorted(roles.values()) == ["admin", "customer"]


async def test_a_customers_token_opens_the_door_by_itself(client: Client) -> None:
    who = await client.register()
    token = client.tokens.access(who.id, who.role)
    metadata = (("authorization", f"Bearer {token}"),)
    answer = await client.stub.GetUserProfile(pb.UserID(id=who.id), timeout=5, metadata=metadata)
    assert answer.id == who.id
    assert client.tokens.caller(token) == Caller(who.id, "customer")

"""The user service while something that it needs is away, and over its own restart."""

import asyncio
import time
from functools import partial

import grpc

from mercato.embedded.supervisor import Platform
from mercato.pb import user_pb2 as pb
from mercato.platform.mongo import Store
from mercato.platform.rpc.refusals import Refused
from tests.user.conftest import PASSWORD, Client, fresh_email, until

BACK_S_MAX = 15.0
# what the gateway answers 503 to
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


async def logs_in(client: Client, email: str, password: str) -> bool:
    try:
        answer = await client.login(password, email=email)
    except Refused:
        return False
    return bool(answer.token)


async def test_without_redis_everything_still_works(
    client: Client, user_platform: Platform
) -> None:
    await user_platform.stop("redis")
    try:
        who = await client.register(username="no-cache")
        assert (await client.profile(who.id, who)).username == "no-cache"
        changed = await client.update(who.id, who, username="no-cache-2")
        assert await client.profile(who.id, who) == changed
        assert (await client.login(username="no-cache-2")).token
    finally:
        async with asyncio.timeout(BACK_S_MAX):
            await user_platform.start("redis")


async def test_without_the_broker_people_still_register(
    client: Client, user_platform: Platform
) -> None:
    await user_platform.stop("nats")
    try:
        email = fresh_email()
        await client.register(email)
        assert (await client.login(email=email)).token
    finally:
        async with asyncio.timeout(BACK_S_MAX):
            await user_platform.start("nats")


async def test_without_the_database_callers_are_told_to_come_back(
    client: Client, user_platform: Platform
) -> None:
    email = fresh_email()
    await client.register(email)

    await user_platform.stop("mongo")
    try:
        login = pb.AuthRequest(email=email, password=PASSWORD)
        wish = pb.UserRequest(email=fresh_email(), password=PASSWORD)
        began = time.monotonic()
        answers = await asyncio.gather(
            client.call("AuthenticateUser", login, deadline_s=3),
            client.call("RegisterUser", wish, deadline_s=3),
            return_exceptions=True,
        )
        assert time.monotonic() - began < 4
        assert {getattr(answer, "code", answer) for answer in answers} <= AWAY
    finally:
        async with asyncio.timeout(BACK_S_MAX):
            await user_platform.start("mongo")
    await until(partial(logs_in, client, email, PASSWORD))


async def test_a_restart_makes_no_second_demo_account(
    client: Client, user_platform: Platform, store: Store
) -> None:
    await user_platform.stop("user")
    async with asyncio.timeout(BACK_S_MAX):
        await user_platform.start("user")
    for email, password in user_platform.logins.items():
        await until(partial(logs_in, client, email, password))
        assert await store["users"].count_documents({"email": email}) == 1

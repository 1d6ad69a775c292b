"""Concurrent registrations share a transaction, and each has its own answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mercato.embedded.supervisor import Platform
from mercato.kernel import clock
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.telemetry import GROUP_SIZE
from mercato.user.model.account import EmailTaken, User, UsernameTaken, UserNotFound
from mercato.user.repository import SHAPES
from mercato.user.repository.attempts import MongoDevices
from mercato.user.repository.users import OUTBOX, USERS, MongoUsers

HASH = "$argon2id$stands-in-for-one"


@pytest.fixture(scope="module")
async def apart(user_platform: Platform) -> AsyncIterator[Store]:
    """A database of its own, that no relay reads."""
    async with Store.open(user_platform.environment["MONGO_URI"], "apart") as store:
        await store.ensure(SHAPES)
        await store.ensure(SHAPES)  # a second start finds everything as it should be
        yield store


@pytest.fixture(scope="module")
async def users(apart: Store, user_platform: Platform) -> AsyncIterator[MongoUsers]:
    async with Cache.open(user_platform.environment["REDIS_ADDR"]) as cache:
        yield MongoUsers(apart, Outbox(apart[OUTBOX]), cache)


def somebody(name: str) -> User:
    return User.new(f"{name}@example.com", name, "customer", HASH, clock.now())


def commits() -> float:
    samples = next(iter(GROUP_SIZE.labels(USERS).collect())).samples
    return next(s.value for s in samples if s.name.endswith("_count"))


async def test_100_registrations_need_few_transactions(users: MongoUsers, apart: Store) -> None:
    before = commits()
    people = [somebody(f"crowd{n}") for n in range(100)]
    await asyncio.gather(*(users.add(user) for user in people))
    assert commits() - before <= 4
    found = await users.profiles([user.profile.id for user in people])
    assert found == {user.profile.id: user.profile for user in people}
    assert await apart[OUTBOX].count_documents({"about": {"$in": list(found)}}) == 200


async def test_a_flood_of_logins_looks_for_many_networks_at_once(apart: Store) -> None:
    devices, admin = MongoDevices(apart), apart[USERS].database.client.admin
    await devices.remember(f"{7:032}")

    async def reads() -> int:
        return int((await admin.command("serverStatus"))["opcounters"]["query"])

    before = await reads()
    known = await asyncio.gather(*(devices.known(f"{n:032}") for n in range(100)))
    assert [n for n, one in enumerate(known) if one] == [7]
    assert await reads() - before < 20


async def test_a_taken_name_fails_its_own_caller_alone(users: MongoUsers, apart: Store) -> None:
    await users.add(somebody("first"))
    people = [somebody(f"fellow{n}") for n in range(10)]
    twins = [somebody("twin"), somebody("twin")]
    late = User.new("late@example.com", "First", "customer", HASH, clock.now())
    everybody = [*people[:5], late, *twins, *people[5:]]
    answers = await asyncio.gather(*(users.add(u) for u in everybody), return_exceptions=True)
    failed = {user.profile.username: answer for user, answer in zip(everybody, answers, strict=True)
              if answer is not None}  # fmt: skip
    assert {name: type(answer) for name, answer in failed.items()} == {
        "First": UsernameTaken,
        "twin": EmailTaken,
    }
    assert await apart[USERS].count_documents({"username_key": "twin"}) == 1
    unlucky = [late.profile.id] + [
        user.profile.id for user, answer in zip(everybody, answers, strict=True)
        if answer is not None
    ]  # fmt: skip
    assert await apart[OUTBOX].count_documents({"about": {"$in": unlucky}}) == 0


async def test_two_copies_of_the_service_agree(apart: Store, user_platform: Platform) -> None:
    async with Cache.open(user_platform.environment["REDIS_ADDR"]) as cache:
        copies = [MongoUsers(apart, Outbox(apart[OUTBOX]), cache) for _ in range(2)]
        wishes = (copies[n % 2].add(somebody(f"shared{n // 2}")) for n in range(60))
        answers = await asyncio.gather(*wishes, return_exceptions=True)
    taken = [answer for answer in answers if answer is not None]
    assert len(taken) == 30
    assert {type(answer) for answer in taken} == {EmailTaken}


async def test_a_change_that_fails_leaves_no_trace(users: MongoUsers, apart: Store) -> None:
    user = somebody("unchanged")
    await users.add(user)

    def spoil(found: User) -> None:
        found.password_hash = "gone"
        raise UserNotFound("not this one")

    with pytest.raises(UserNotFound):
        await users.update(user.profile.id, spoil)
    assert await users.get(user.profile.id) == user
    assert await apart[OUTBOX].count_documents({"subject": "user.changed"}) == 0


async def test_a_rehash_never_overwrites_a_newer_password(users: MongoUsers) -> None:
    user = somebody("rehashed")
    await users.add(user)
    await users.rehash(user, HASH + "2")
    assert (await users.get(user.profile.id)).password_hash == HASH + "2"
    await users.rehash(user, HASH + "3")
    assert (await users.get(user.profile.id)).password_hash == HASH + "2"

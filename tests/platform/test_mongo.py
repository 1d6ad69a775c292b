"""MongoDB: a transaction is whole or not there, ends in time, and its errors are understood."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pymongo
import pytest
from pymongo import IndexModel, InsertOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, ExecutionTimeout, PyMongoError

from mercato.embedded.supervisor import Platform
from mercato.kernel.errors import Unavailable
from mercato.kernel.identity import new_id
from mercato.platform.mongo import Session, Shape, Store
from mercato.platform.rpc.refusals import understood
from mercato.platform.settings import SettingsError
from tests.story.shop import eventually


@pytest.fixture
async def things(store: Store) -> str:
    name = f"things_{new_id()}"
    await store.ensure({name: Shape(indexes=[IndexModel([("n", 1)], name="n", unique=True)])})
    return name


async def test_a_body_that_raises_leaves_nothing_behind(store: Store, things: str) -> None:
    async def body(session: Session) -> None:
        await store[things].insert_one({"n": 1}, session=session)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.transaction(body)
    assert await store[things].count_documents({}) == 0


@pytest.mark.parametrize("many", [False, True])
async def test_a_duplicate_comes_out_at_once(store: Store, things: str, many: bool) -> None:
    await store[things].insert_one({"n": 1})
    bodies = 0

    async def body(session: Session) -> None:
        nonlocal bodies
        bodies += 1
        if many:
            await store[things].bulk_write([InsertOne({"n": 1})], session=session)
        else:
            await store[things].insert_one({"n": 1}, session=session)

    started = time.perf_counter()
    with pytest.raises((BulkWriteError, DuplicateKeyError)):
        await store.transaction(body)
    assert bodies == 1
    assert time.perf_counter() - started < 1


async def test_racing_transactions_all_go_through(store: Store, things: str) -> None:
    await store[things].insert_one({"_id": "counter", "n": 0})

    async def body(session: Session) -> None:
        found = await store[things].find_one({"_id": "counter"}, session=session)
        assert found is not None
        change = {"$set": {"n": found["n"] + 1}}
        await store[things].update_one({"_id": "counter"}, change, session=session)

    await asyncio.gather(*(store.transaction(body) for _ in range(12)))
    found = await store[things].find_one({"_id": "counter"})
    assert found is not None
    assert found["n"] == 12


async def test_a_transaction_gives_up_in_time_and_says_that_it_may_be_tried_again(
    store: Store, things: str
) -> None:
    await store[things].insert_one({"_id": "hot", "n": 0})
    async with store.client.start_session() as other:
        await other.start_transaction()
        await store[things].update_one({"_id": "hot"}, {"$inc": {"n": 1}}, session=other)

        async def body(session: Session) -> None:
            await store[things].update_one({"_id": "hot"}, {"$inc": {"n": 1}}, session=session)

        started = time.perf_counter()
        with pymongo.timeout(0.5), pytest.raises(PyMongoError) as late:
            await store.transaction(body)
        assert time.perf_counter() - started < 1.5
        assert isinstance(understood(late.value), Unavailable)
        await other.abort_transaction()


async def test_every_operation_ends_even_without_a_deadline_of_its_callers(store: Store) -> None:
    slow: dict[str, Any] = {"$where": "sleep(5000) || true"}
    name = f"slow_{new_id()}"
    await store[name].insert_one({"a": 1})
    started = time.perf_counter()
    with pytest.raises((ExecutionTimeout, PyMongoError)) as late:
        await store[name].find_one(slow)
    assert time.perf_counter() - started < 4
    assert isinstance(understood(late.value), Unavailable)


async def test_what_a_collection_must_be_is_brought_up_to_date(store: Store) -> None:
    name = f"shaped_{new_id()}"
    shape = Shape({"required": ["a"]}, [IndexModel([("a", 1)], name="mine")])
    for _ in range(2):
        await store.ensure({name: shape})
    with pytest.raises(PyMongoError):
        await store[name].insert_one({"b": 1})
    newer = replace(
        shape, schema={"required": ["b"]}, indexes=[IndexModel([("b", 1)], name="mine")]
    )
    await store.ensure({name: newer})
    await store[name].insert_one({"b": 1})
    assert (await store[name].index_information())["mine"]["key"] == [("b", 1)]
    for _ in range(2):
        await store.ensure({name: Shape(former=["mine", "never there"])})
    assert set(await store[name].index_information()) == {"_id_"}


async def test_a_server_that_keeps_dead_transactions_for_long_is_refused(store: Store) -> None:
    limit = "transactionLifetimeLimitSeconds"
    await store.client.admin.command({"setParameter": 1, limit: 60})
    try:
        with pytest.raises(SettingsError, match="--setParameter"):
            await store.ensure({})
    finally:
        await store.client.admin.command({"setParameter": 1, limit: 2})


async def test_a_connection_made_while_mongod_recovers_is_not_kept(
    servers: Platform, store: Store, things: str
) -> None:
    uri = servers.environment["MONGO_URI"].partition("?")[0] + "?directConnection=true"

    async def writes_again() -> bool:
        return bool((await mongod.client.admin.command("hello"))["isWritablePrimary"])

    async with Store.open(uri, "parts") as mongod, Store.open(uri, "parts") as early:

        async def body(session: Session) -> None:
            await early[things].insert_one({"n": 1}, session=session)

        await mongod.client.admin.command("replSetStepDown", 1, force=True)
        await mongod.client.admin.command("replSetMaintenance", True)
        try:
            with pytest.raises(PyMongoError) as refusal:
                await early.transaction(body)
        finally:
            await mongod.client.admin.command("replSetMaintenance", False)
        assert isinstance(understood(refusal.value), Unavailable)
        await eventually(writes_again, 20, "mongod is no primary again")
        await early.transaction(body)
    assert await store[things].count_documents({}) == 1

"""The store in memory behaves as mongod does: the same operations, the same answers."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest
from bson import ObjectId
from pymongo import DeleteOne, IndexModel, InsertOne, ReplaceOne, ReturnDocument, UpdateMany
from pymongo import UpdateOne as Update
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Shape, Store
from tests.simulation import mongo
from tests.simulation.chance import Odds, Trouble
from tests.simulation.loop import Process

DAY: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
SHAPE: Final = Shape(
    schema={
        "bsonType": "object",
        "required": ["stock"],
        "properties": {
            "stock": {"bsonType": ["int", "long"], "minimum": 0},
            "state": {"enum": ["A", "B"]},
            "lines": {"bsonType": "array", "minItems": 1},
        },
    },
    indexes=(
        IndexModel(
            [("owner", 1), ("key", 1)], name="once", unique=True,
            partialFilterExpression={"key": {"$exists": True}},
        ),
    ),
)  # fmt: skip

Operation = Callable[[Store], Awaitable[Any]]


def _ids(count: int) -> list[ObjectId]:
    return [ObjectId(f"{number:024x}") for number in range(1, count + 1)]


A, B, C, D = _ids(4)


async def _in_a_transaction(store: Store, body: Callable[[Any], Awaitable[Any]]) -> Any:
    return await store.transaction(body)


def _all(store: Store) -> Any:
    return store["things"].find({}).sort("_id", 1).to_list()


async def _failing_transaction(store: Store) -> Any:
    async def body(session: Any) -> None:
        await store["things"].update_one({"_id": A}, {"$inc": {"stock": 5}}, session=session)
        await store["things"].insert_many([{"_id": A, "stock": 1}], session=session)

    await store.transaction(body)


async def _transaction_reads_what_it_wrote(store: Store) -> Any:
    async def body(session: Any) -> Any:
        things = store["things"]
        changes = [
            Update({"_id": A, "stock": {"$gte": 2}}, {"$inc": {"stock": -2}}),
            Update({"_id": B, "stock": {"$gte": 100}}, {"$inc": {"stock": -100}}),
        ]
        result = await things.bulk_write(changes, ordered=False, session=session)
        found = await things.find({"_id": {"$in": [A, B]}}, {"stock": 1}, session=session).to_list()
        return result.matched_count, result.modified_count, sorted(d["stock"] for d in found)

    return await store.transaction(body)


async def _overtaken(store: Store) -> Any:
    """A transaction whose document changes under it runs again, on what is there then."""
    runs = itertools.count(1)

    async def body(session: Any) -> int:
        found = await store["things"].find_one({"_id": A}, session=session)
        assert found is not None
        run = next(runs)
        if run == 1:
            await store["things"].update_one({"_id": A}, {"$inc": {"stock": 10}})
        change = {"$set": {"stock": found["stock"] * 2}}
        await store["things"].update_one({"_id": A}, change, session=session)
        return run

    return await store.transaction(body)


async def _waiting(store: Store) -> Any:
    """A plain write waits for the transaction that holds its document."""

    async def body(session: Any) -> None:
        await store["things"].update_one({"_id": A}, {"$inc": {"stock": 1}}, session=session)
        await asyncio.sleep(0.2)

    async def plain() -> int:
        await asyncio.sleep(0.05)
        result = await store["things"].update_one({"_id": A}, {"$inc": {"stock": 1}})
        return result.modified_count

    return (await asyncio.gather(store.transaction(body), plain()))[1]


async def _same_key_twice_at_once(store: Store) -> Any:
    """Two transactions insert one key: the second, run again, meets the first one's document."""

    async def body(session: Any, _id: ObjectId, pause_s: float) -> None:
        document = {"_id": _id, "stock": 1, "owner": "x", "key": "k"}
        await store["things"].insert_many([document], session=session)
        await asyncio.sleep(pause_s)

    results = await asyncio.gather(
        store.transaction(lambda session: body(session, C, 0.1)),
        store.transaction(lambda session: body(session, D, 0.1)),
        return_exceptions=True,
    )
    return sorted(type(result).__name__ for result in results)


def _things(store: Store) -> Any:
    return store["things"]


OPERATIONS: Final[dict[str, Operation]] = {
    "insert": lambda s: _things(s).insert_many(
        [
            {"_id": A, "stock": 5, "at": DAY, "owner": "x", "key": "1", "log": [{"a": 1}]},
            {"_id": B, "stock": 7, "state": "A", "owner": "x"},
        ]
    ),
    "insert again, unordered": lambda s: _things(s).insert_many(
        [{"_id": A, "stock": 1}, {"_id": C, "stock": 3}, {"_id": B, "stock": 1}], ordered=False
    ),
    "insert a known key": lambda s: _things(s).insert_many(
        [{"_id": D, "stock": 1, "owner": "x", "key": "1"}]
    ),
    "insert what breaks a rule": lambda s: _things(s).insert_many([{"_id": D, "stock": -1}]),
    "insert what has no lines": lambda s: _things(s).insert_many(
        [{"_id": D, "stock": 1, "lines": []}]
    ),
    "update to what breaks a rule": lambda s: _things(s).update_one(
        {"_id": A}, {"$inc": {"stock": -6}}
    ),
    "update conditionally": lambda s: _things(s).update_one(
        {"_id": A, "stock": {"$gte": 6}}, {"$inc": {"stock": -6}}
    ),
    "update many": lambda s: _things(s).update_many(
        {"stock": {"$gte": 5}, "state": {"$ne": "B"}},
        {"$set": {"state": "B"}, "$unset": {"at": ""}, "$push": {"log": {"$each": [{"b": 2}]}}},
    ),
    "set a document": lambda s: _things(s).update_one(
        {"_id": A}, {"$set": {"in": {"x": 1, "y": 2}}}
    ),
    "unset inside": lambda s: _things(s).update_many({}, {"$unset": {"in.x": "", "in.z": ""}}),
    "update to the same": lambda s: _things(s).update_many({}, {"$set": {"owner": "x"}}),
    "upsert": lambda s: _things(s).update_one(
        {"_id": D}, {"$setOnInsert": {"stock": 9}, "$inc": {"times": 1}}, upsert=True
    ),
    "upsert again": lambda s: _things(s).update_one(
        {"_id": D}, {"$setOnInsert": {"stock": 8}, "$inc": {"times": 1}}, upsert=True
    ),
    "bulk": lambda s: _things(s).bulk_write(
        [
            UpdateMany({"_id": {"$in": [A, B]}, "state": {"$exists": True}}, {"$inc": {"n": 1}}),
            ReplaceOne({"_id": C}, {"_id": C, "stock": 30}),
            Update({"_id": ObjectId("f" * 24)}, {"$set": {"stock": 1}}),
            InsertOne({"_id": ObjectId("e" * 24), "stock": 1}),
            DeleteOne({"_id": D}),
        ],
        ordered=False,
    ),
    "find sorted": lambda s: _things(s).find({}).sort("stock", -1).limit(2).to_list(),
    "find by or": lambda s: _things(s).find({"$or": [{"_id": A}, {"stock": 30}]}).to_list(),
    "find by order": lambda s: _things(s).find({"stock": {"$gt": 5, "$lte": 30}}).to_list(),
    "find some fields": lambda s: _things(s).find_one({"_id": A}, {"stock": 1}),
    "find the newest": lambda s: _things(s).find_one({}, sort=[("_id", -1)]),
    "find none": lambda s: _things(s).find_one({"_id": ObjectId("0" * 24)}),
    "count": lambda s: _things(s).count_documents({"at": {"$exists": False}}),
    "find and update": lambda s: _things(s).find_one_and_update(
        {"_id": A, "state": {"$in": ["A", "B"]}}, {"$inc": {"stock": 1}},
        return_document=ReturnDocument.AFTER,
    ),
    "a failing transaction": _failing_transaction,
    "a transaction reads what it wrote": _transaction_reads_what_it_wrote,
    "overtaken": _overtaken,
    "waiting": _waiting,
    "the same key twice at once": _same_key_twice_at_once,
}  # fmt: skip


@pytest.fixture
async def simulated() -> Store:
    loop = asyncio.get_running_loop()
    chance = random.Random(1)
    server = mongo.Server(chance, loop.time)
    server.shape({"things": SHAPE})
    trouble = Trouble(chance, Odds(), lambda *_: None)
    return Store(cast(Any, mongo.Client(server, Process("test"), trouble)), "compared")


async def test_the_store_in_memory_answers_as_mongod_does(
    servers: Platform, simulated: Store
) -> None:
    async with Store.open(servers.environment["MONGO_URI"], "compared") as real:
        await real.ensure({"things": SHAPE})
        for name, operation in OPERATIONS.items():
            there, here = await _answer(operation, real), await _answer(operation, simulated)
            assert here == there, name
            assert await _all(simulated) == await _all(real), name


async def _answer(operation: Operation, store: Store) -> Any:
    try:
        result = await operation(store)
    except BulkWriteError as failure:
        errors = [
            (e["index"], e["code"], e.get("keyPattern")) for e in failure.details["writeErrors"]
        ]
        return "BulkWriteError", failure.details["nInserted"], errors
    except OperationFailure as failure:
        return type(failure).__name__, failure.code
    except PyMongoError as failure:
        return type(failure).__name__
    if not hasattr(result, "acknowledged"):
        return result
    names = ("inserted_ids", "matched_count", "modified_count", "deleted_count", "inserted_count")
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


async def test_what_the_store_does_not_know_it_refuses(simulated: Store) -> None:
    things = simulated["things"]
    await things.insert_many([{"_id": A, "stock": 1}])
    queries: tuple[Any, ...] = (
        {"stock": {"$mod": [2, 1]}},
        {"a.b": 1},
        {"$nor": []},
        {"stock": None},
    )
    for query in queries:
        with pytest.raises((NotImplementedError, KeyError)):
            await things.find(query).to_list()
    for change in ({"$mul": {"stock": 2}}, {"$set": {"a.b": 1}}, {"$push": {"log": {"$slice": 1}}}):
        with pytest.raises(NotImplementedError):
            await things.update_one({"_id": A}, cast(Any, change))

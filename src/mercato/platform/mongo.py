"""MongoDB: the connection, transactions with a time limit, and what each collection must be."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pymongo
import structlog
from bson import Int64
from bson.codec_options import TypeDecoder, TypeRegistry
from pymongo import AsyncMongoClient, IndexModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    CollectionInvalid,
    ConfigurationError,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import PrimaryPreferred, Secondary, SecondaryPreferred
from pymongo.server_selectors import Selection
from pymongo.write_concern import WriteConcern

from mercato.platform.settings import SettingsError

Document = dict[str, Any]
Collection = AsyncCollection[Document]
Session = AsyncClientSession

# A use case has this long in the database; a transaction is retried within it.
TIMEOUT_S = 2.5
REACH_MS = 3_000  # to find a server, and to connect to it
# A read waits so long for the primary before it asks a secondary, where there is one.
PRIMARY_S = 0.7
# mongod holds what a killed process had locked for this long, at most (PROTOCOL, "Why", 1).
TRANSACTION_LIFETIME_S_MAX = 5

# A collection that is there while a restore puts the others into their places, and to its end.
HALF_RESTORED = "half-restored"

_NO_SESSIONS = "Sessions are not supported"
_UNAUTHORIZED = 13
_NO_INDEX = 27  # IndexNotFound
_INDEX_IS_ANOTHER = (85, 86)  # IndexOptionsConflict, IndexKeySpecsConflict
_WRITE = WriteConcern(w="majority", j=True)
_SPARE = Secondary()
T = TypeVar("T")
log = structlog.get_logger()


class _PlainInteger(TypeDecoder):
    """The driver gives what passes 32 bits as a class of its own; here an integer is an int."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a collection must be: its `$jsonSchema` (None: any document) and its indexes.

    `former` are names of indexes that an earlier release had: they are dropped.
    """

    schema: Mapping[str, Any] | None = None
    indexes: Sequence[IndexModel] = ()
    former: Sequence[str] = ()


class _Reads(PrimaryPreferred):
    """The primary; inside `read`, when the primary has not answered, a secondary."""

    def __call__(self, selection: Selection) -> Selection:
        return SecondaryPreferred()(selection) if _elsewhere.get() else selection.primary_selection


_elsewhere: ContextVar[bool] = ContextVar("elsewhere", default=False)
_clients: set[AsyncMongoClient[Document]] = set()  # those that are open


async def read(body: Callable[[], Awaitable[T]]) -> T:
    """Runs `body`, which only reads; a secondary answers it when the primary does not.

    It may then miss what was committed in the last moments before the primary was lost from sight,
    and never shows what could be rolled back.
    """
    if not any(each.topology_description.has_readable_server(_SPARE) for each in _clients):
        return await body()
    try:
        with pymongo.timeout(PRIMARY_S):
            return await body()
    except PyMongoError as failure:
        log.warning("a secondary is asked", failure=type(failure).__name__)
    token = _elsewhere.set(True)
    try:
        return await body()
    finally:
        _elsewhere.reset(token)


class Store:
    """One service's database."""

    def __init__(self, client: AsyncMongoClient[Document], name: str) -> None:
        self.client = client
        self.database: AsyncDatabase[Document] = client.get_database(
            name, write_concern=_WRITE, read_concern=ReadConcern("majority"),
            read_preference=_Reads(),
        )  # fmt: skip

    @classmethod
    @asynccontextmanager
    async def open(cls, uri: str, name: str) -> AsyncIterator["Store"]:
        """Opens the database `name` behind `uri`; connects at its first use."""
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            uri, tz_aware=True, retryWrites=True, serverSelectionTimeoutMS=REACH_MS,
            connectTimeoutMS=REACH_MS, timeoutMS=int(TIMEOUT_S * 1000), appname="mercato",
            type_registry=TypeRegistry([_PlainInteger()]),
        )  # fmt: skip
        _clients.add(client)
        try:
            yield cls(client, name)
        finally:
            _clients.discard(client)
            await client.close()

    def __getitem__(self, collection: str) -> Collection:
        return self.database[collection]

    async def ping(self) -> None:
        with pymongo.timeout(1):
            await self.client.admin.command("ping")

    async def transaction(self, body: Callable[[Session], Awaitable[T]]) -> T:
        """Runs `body` in one transaction: majority, journalled, snapshot; gives up after TIMEOUT_S.

        `body` may be run several times and must raise what it meets: an error that it swallows
        leaves the transaction aborted and the commit looping.
        """
        with pymongo.timeout(TIMEOUT_S):
            async with self.session() as session:
                return await session.with_transaction(
                    body, read_concern=ReadConcern("snapshot"), write_concern=_WRITE
                )

    @asynccontextmanager
    async def session(self, *, snapshot: bool = False) -> AsyncIterator[Session]:
        """A session of the driver's; raises AutoReconnect where a connection cannot have one.

        A connection that was made while mongod was recovering is taken by the driver, for all its
        life, for one to a server without sessions; it comes about with `directConnection`.
        """
        try:
            async with self.client.start_session(snapshot=snapshot) as session:
                yield session
        except ConfigurationError as failure:
            if _NO_SESSIONS not in str(failure):
                raise
            for server in cast(Any, self.client)._topology._servers.values():
                await server.pool.reset_without_pause()
            raise AutoReconnect("connected while the server was starting") from failure

    async def ensure(self, shapes: Mapping[str, Shape]) -> None:
        """Creates the collections that are missing and brings validators and indexes up to date.

        Raises SettingsError for a database that no service may work on.
        """
        with pymongo.timeout(0):  # an index may take as long as it takes
            await self._check_lifetime()
            there = set(await self.database.list_collection_names())
            if HALF_RESTORED in there:
                raise SettingsError(
                    f"the database {self.database.name} is part old and part restored: a restore "
                    "was killed; restore once more, with --replace"
                )
            for name, shape in shapes.items():
                validator = {"$jsonSchema": shape.schema} if shape.schema else {}
                if name not in there:
                    await self._create(name)
                await self.database.command("collMod", name, validator=validator)
                for index in shape.indexes:
                    await self._index(self.database[name], index)
                await self._drop(self.database[name], shape.former)

    async def _index(self, collection: Collection, index: IndexModel) -> None:
        try:
            await collection.create_indexes([index])
        except OperationFailure as failure:
            if failure.code not in _INDEX_IS_ANOTHER:
                raise
            name = index.document["name"]
            log.warning("an index is made anew", collection=collection.name, index=name)
            await collection.drop_index(name)
            await collection.create_indexes([index])

    async def _drop(self, collection: Collection, former: Sequence[str]) -> None:
        there = await collection.index_information() if former else {}
        for index in there.keys() & set(former):
            log.warning("an index is dropped", collection=collection.name, index=index)
            try:
                await collection.drop_index(index)
            except OperationFailure as failure:
                if failure.code != _NO_INDEX:  # another copy was faster
                    raise

    async def _create(self, name: str) -> None:
        try:
            await self.database.create_collection(name)
        except (CollectionInvalid, OperationFailure) as failure:
            if name not in await self.database.list_collection_names():
                raise
            log.debug("collection made by another copy", name=name, failure=str(failure))

    async def _check_lifetime(self) -> None:
        name = "transactionLifetimeLimitSeconds"
        try:
            answer = await self.client.admin.command({"getParameter": 1, name: 1})
        except OperationFailure as failure:
            if failure.code != _UNAUTHORIZED:
                raise
            log.warning("cannot read transactionLifetimeLimitSeconds; it should be 2")
            return
        if answer[name] > TRANSACTION_LIFETIME_S_MAX:
            raise SettingsError(
                f"mongod's {name} is {answer[name]}: a killed process would block others that "
                f"long. Start mongod with --setParameter {name}=2"
            )

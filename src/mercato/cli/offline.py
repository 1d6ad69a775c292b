"""How a command reaches the stores of a platform that does not run, and none that does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from mercato.backup import BackupError
from mercato.cli.stores import REMEDY
from mercato.embedded import doctor
from mercato.embedded.errors import PlatformError
from mercato.embedded.settings import Given
from mercato.embedded.size import CLUSTER, SINGLE, Size
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Document, Store
from mercato.platform.settings import StoreSettings, load

REACH_MS: Final = 5_000


@asynccontextmanager
async def resting(data_dir: Path) -> AsyncIterator[StoreSettings]:
    """The stores of a platform without its services: those of the environment, else embedded ones.

    With MONGO_URI in the environment its servers are meant, and they run. Without, the servers of
    `data_dir` are started and stopped again; raises AlreadyRunning when its platform runs.
    """
    given = load(Given)
    if given.mongo_uri:
        yield load(StoreSettings)
        return
    size = CLUSTER if rests(data_dir, CLUSTER) else SINGLE
    doctor.insist(data_dir, given, size)
    async with Platform.open(data_dir, services=(), given=given, size=size) as platform:
        yield load(StoreSettings, platform.environment)


def rests(data_dir: Path, *sizes: Size) -> bool:
    """Whether the folder holds the database of a platform of one of these sizes."""
    return any((data_dir / size.servers("mongo")[0]).is_dir() for size in sizes)


@asynccontextmanager
async def patient(s: StoreSettings, command: str) -> AsyncIterator[Store]:
    """Opens the database for work that takes its time; raises PlatformError when it fails."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        s.mongo_uri, tz_aware=True, serverSelectionTimeoutMS=REACH_MS, connectTimeoutMS=REACH_MS,
        appname=f"mercato {command}",
    )  # fmt: skip
    try:
        async with client:
            yield Store(client, s.mongo_db_name)
    except BackupError as failure:
        raise PlatformError(str(failure), failure.remedy) from failure
    except PyMongoError as failure:
        told = str(failure).partition(", full error")[0]
        raise PlatformError(f"the database fails: {told}", REMEDY) from failure

"""A shop to back up, a small backup, and an empty database to restore into."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mercato import backup
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from tests.story.shop import Shop


@pytest.fixture
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    async with Shop.of(platform) as opened:
        yield opened


@pytest.fixture
async def target(servers: Platform) -> AsyncIterator[Store]:
    """An empty database to restore into."""
    async with Store.open(servers.environment["MONGO_URI"], "restored") as store:
        await store.client.drop_database("restored")
        yield store


@pytest.fixture(scope="session")
async def small(servers: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a small database of its own."""
    folder = tmp_path_factory.mktemp("small") / "backup"
    async with Store.open(servers.environment["MONGO_URI"], "small") as store:
        await store["orders"].insert_many([{"n": n, "text": "x" * 100} for n in range(500)])
        await store["orders"].create_index([("n", 1)], name="n", unique=True)
        await store["mails"].insert_many([{"state": "NEW"}, {"state": "SENT"}])
        await backup.take(store, folder)
    return folder

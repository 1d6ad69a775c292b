"""The platform under test: real servers and services on free ports, started once for all."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mercato.embedded.settings import WIDE_LIMITS
from mercato.embedded.supervisor import Platform
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store


@pytest.fixture(scope="session", autouse=True)
def generous() -> Iterator[None]:
    """Limits that are on, and far away: all these tests come from one address."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in WIDE_LIMITS.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="session")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Everything, as `mercato up` starts it; a test that breaks a part mends it."""
    home: Path = tmp_path_factory.mktemp("mercato")
    async with Platform.open(home) as running:
        yield running


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """MongoDB, Redis, NATS and the mailbox without any service, for the parts' own tests."""
    async with Platform.open(tmp_path_factory.mktemp("servers"), services=()) as running:
        yield running


@pytest.fixture(scope="session")
async def store(servers: Platform) -> AsyncIterator[Store]:
    """A database of this test run's own, with no collection in it yet."""
    async with Store.open(servers.environment["MONGO_URI"], "parts") as store:
        yield store


@pytest.fixture(scope="session")
async def cache(servers: Platform) -> AsyncIterator[Cache]:
    async with Cache.open(servers.environment["REDIS_ADDR"]) as cache:
        yield cache

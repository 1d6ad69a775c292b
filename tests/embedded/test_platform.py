"""The embedded servers as a whole: they start, work, die, come back and stop."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.js.errors import NotFoundError
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from mercato.embedded import state
from mercato.embedded.errors import AlreadyRunning, PlatformError
from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.platform.settings import Secret

READY_S_MAX = 8.0
RETURN_S_MAX = 10.0


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with Platform.open(tmp_path_factory.mktemp("platform"), services=()) as opened:
        yield opened


async def committed(platform: Platform) -> int:
    """Inserts two documents in one transaction and returns how many there are."""
    async with AsyncMongoClient[dict[str, int]](platform.environment["MONGO_URI"]) as client:
        things = client["test"]["things"]
        await things.insert_one({"n": 0})
        async with client.start_session() as session, await session.start_transaction():
            await things.insert_one({"n": 1}, session=session)
        return await things.count_documents({})


async def test_every_server_does_its_real_work(platform: Platform) -> None:
    assert await committed(platform) >= 2
    host, port = platform.environment["REDIS_ADDR"].split(":")
    async with Redis(host=host, port=int(port), protocol=2) as redis:
        await redis.set("a", "b")
        assert await redis.get("a") == b"b"
        assert (await redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "allkeys-lru"
    broker = await nats.connect(platform.environment["NATS_URL"])
    assert (await broker.jetstream().account_info()).streams == 0
    await broker.close()


async def test_the_record_tells_other_programs_where_everything_is(platform: Platform) -> None:
    known = state.running(platform.data_dir)
    assert known.ready
    assert known.environment == platform.environment
    assert len(known.environment["JWT_SECRET"]) >= 32
    assert (platform.data_dir / state.FILE).stat().st_mode & 0o077 == 0
    assert all(part.process and part.process.find() for part in known.parts.values())


async def test_mongod_gives_a_dead_clients_locks_back_soon(platform: Platform) -> None:
    async with AsyncMongoClient[dict[str, int]](platform.environment["MONGO_URI"]) as client:
        reply = await client.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1)
    assert reply["transactionLifetimeLimitSeconds"] == 2


@pytest.mark.parametrize("name", ["mongo", "redis", "nats", "mailbox"])
async def test_a_killed_server_comes_back_by_itself(platform: Platform, name: str) -> None:
    before = platform.parts()[name]
    platform.kill(name)
    async with asyncio.timeout(RETURN_S_MAX):
        await platform.wait_ready(name)
    after = platform.parts()[name]
    assert after.restarts == before.restarts + 1
    assert after.process != before.process
    assert after.ports == before.ports


async def test_a_stopped_server_stays_stopped_until_it_is_started(platform: Platform) -> None:
    await platform.stop("redis")
    await asyncio.sleep(1)
    assert platform.parts()["redis"].process is None
    async with asyncio.timeout(RETURN_S_MAX):
        await platform.start("redis")
    assert platform.parts()["redis"].phase == "ready"


async def test_wiping_a_stopped_broker_leaves_an_empty_one(platform: Platform) -> None:
    broker = await nats.connect(platform.environment["NATS_URL"])
    await broker.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
    await broker.close()
    with pytest.raises(PlatformError, match="runs"):
        platform.wipe("nats")
    await platform.stop("nats")
    platform.wipe("nats")
    await platform.start("nats")
    broker = await nats.connect(platform.environment["NATS_URL"])
    with pytest.raises(NotFoundError):
        await broker.jetstream().stream_info("KEPT")
    await broker.close()


async def test_a_data_directory_has_one_supervisor_only(platform: Platform) -> None:
    with pytest.raises(AlreadyRunning, match="pid"):
        async with Platform.open(platform.data_dir, services=()):
            pass


async def test_data_and_ports_survive_a_restart_and_data_the_loss_of_the_ports(
    tmp_path: Path,
) -> None:
    began = time.monotonic()
    async with Platform.open(tmp_path, services=()) as platform:
        assert time.monotonic() - began < READY_S_MAX
        environment = platform.environment
        count = await committed(platform)
    assert not state.read(tmp_path).alive  # type: ignore[union-attr]
    async with Platform.open(tmp_path, services=()) as platform:
        assert platform.environment == environment
        again = await committed(platform)
    assert again > count
    (tmp_path / state.FILE).unlink()
    async with Platform.open(tmp_path, services=()) as platform:  # the replica set follows
        assert platform.environment["MONGO_URI"] != environment["MONGO_URI"]
        assert await committed(platform) > again


async def test_servers_that_are_given_are_not_started(tmp_path: Path) -> None:
    given = Given(mongo_uri=Secret("mongodb://db.example"), nats_url=Secret("nats://nats.example"))
    async with Platform.open(tmp_path, services=(), given=given) as platform:
        assert set(platform.parts()) == {"redis", "mailbox"}
        assert platform.environment["MONGO_URI"] == "mongodb://db.example"
        assert platform.external == ["MONGO_URI", "NATS_URL"]


async def test_every_change_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    given = Given(mongo_uri=Secret("mongodb://x"), nats_url=Secret("nats://x"), smtp_host="x")

    died = asyncio.Event()

    def listen(name: str, phase: str, detail: str) -> None:
        told.append((name, phase))
        if phase == "restarting":
            died.set()

    async with Platform.open(tmp_path, services=(), given=given, tell=listen) as platform:
        platform.kill("redis", signal.SIGTERM)
        async with asyncio.timeout(RETURN_S_MAX):
            await died.wait()
            await platform.wait_ready("redis")
    phases = [phase for name, phase in told if name == "redis"]
    assert phases == ["starting", "ready", "restarting", "starting", "ready", "stopping", "stopped"]

"""Servers of yours: whether they would serve is known, and said, before anything is started."""

import asyncio
from urllib.parse import urlsplit

import pytest

from mercato.embedded import externals
from mercato.embedded.errors import PlatformError
from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.platform.settings import Secret

NOBODY = "127.0.0.1:9"
REFUSED_S_MAX = 8.0
AT_ONCE_S_MAX = 3.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does not wait for long."""
    monkeypatch.setattr(externals, "TIMEOUT_S", 2.5)
    monkeypatch.setattr(externals, "DRIVER_TIMEOUT_S", 1.0)


async def test_servers_that_serve_are_accepted(servers: Platform) -> None:
    environment = servers.environment
    await externals.insist(
        Given(
            mongo_uri=Secret(environment["MONGO_URI"]),
            redis_addr=environment["REDIS_ADDR"],
            nats_url=Secret(f"nats://{NOBODY},{environment['NATS_URL']}"),
            smtp_host=environment["SMTP_HOST"],
            smtp_port=environment["SMTP_PORT"],
        )
    )


async def test_each_that_is_not_there_is_named_with_its_address_and_never_its_password() -> None:
    given = Given(
        mongo_uri=Secret(f"mongodb://me:hush@{NOBODY}/?replicaSet=rs0"),
        redis_addr=NOBODY,
        redis_password=Secret("hush"),
        nats_url=Secret(f"nats://me:hush@{NOBODY}"),
        smtp_host="127.0.0.1",
        smtp_port="9",
    )
    async with asyncio.timeout(AT_ONCE_S_MAX):
        with pytest.raises(PlatformError) as refusal:
            await externals.insist(given)
    for variable in ("MONGO_URI", "REDIS_ADDR", "NATS_URL", "SMTP_HOST"):
        assert f"\n  {variable} ({NOBODY}): connection refused" in str(refusal.value)
    assert "hush" not in str(refusal.value)


async def test_a_server_that_never_answers_is_not_waited_for(impatient: None) -> None:
    async def silence(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(REFUSED_S_MAX)
        writer.close()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as mute:
        port = mute.sockets[0].getsockname()[1]
        given = Given(
            mongo_uri=Secret(f"mongodb://127.0.0.1:{port}/?directConnection=true"),
            redis_addr=f"127.0.0.1:{port}",
            nats_url=Secret(f"nats://127.0.0.1:{port}"),
        )
        async with asyncio.timeout(REFUSED_S_MAX):
            with pytest.raises(PlatformError) as refusal:
                await externals.insist(given)
    assert str(refusal.value).count(f"(127.0.0.1:{port}): ") == 3


async def test_a_replica_set_of_another_name_is_refused(servers: Platform, impatient: None) -> None:
    address = urlsplit(servers.environment["MONGO_URI"]).netloc
    given = Given(mongo_uri=Secret(f"mongodb://{address}/?replicaSet=another"))
    with pytest.raises(PlatformError, match="another"):
        await externals.insist(given)

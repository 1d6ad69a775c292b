"""What lies outside the database forgets the future: our keys in Redis, and the stream."""

from dataclasses import replace
from itertools import count

import pytest
from nats.js.api import ConsumerConfig
from nats.js.errors import ServerError
from redis.asyncio import Redis

from mercato.backup import BackupError
from mercato.backup.outside import clear_cache, empty_stream
from mercato.embedded.ports import LOOPBACK, any_free
from mercato.embedded.supervisor import Platform
from mercato.events import STREAM
from mercato.kernel.identity import new_id
from mercato.platform.bus import Bus, Letter


async def test_our_keys_leave_redis_and_nobody_elses(servers: Platform) -> None:
    address = servers.environment["REDIS_ADDR"]
    ours = [f"{kind}:{new_id()}" for kind in ("product", "order", "user") for _ in range(400)]
    async with Redis(host=LOOPBACK, port=int(address.rpartition(":")[2])) as redis:
        await redis.mset(dict.fromkeys([*ours, "theirs:1"], "x"))
        assert await clear_cache(address, password="", database=0) >= len(ours)
        assert await redis.exists(*ours) == 0
        assert await redis.delete("theirs:1") == 1


async def test_a_redis_that_cannot_be_asked_keeps_a_restore_from_going_on() -> None:
    with pytest.raises(BackupError, match="may know newer versions"):
        await clear_cache(f"{LOOPBACK}:{any_free()}", password="", database=0)


async def test_an_emptied_stream_keeps_its_settings_and_takes_the_same_message_ids_again(
    servers: Platform,
) -> None:
    letter = Letter("order.created", b"{}", {"Nats-Msg-Id": new_id()})
    async with Bus.open(servers.environment["NATS_URL"], "restore") as bus:
        await bus.until_connected()
        assert await bus.ensure_stream()
        config = (await bus.stream.stream_info(STREAM)).config
        await bus.stream.update_stream(replace(config, description="its operator's"))
        await bus.stream.add_consumer(STREAM, ConsumerConfig(durable_name="theirs"))
        for _ in range(2):
            assert await bus.publish([letter]) == [True]
        assert await empty_stream(bus) >= 1
        assert await bus.publish([letter]) == [True]
        after = await bus.stream.stream_info(STREAM)
        assert (after.state.messages, after.config.description) == (1, "its operator's")
        assert (await bus.stream.consumer_info(STREAM, "theirs")).num_pending == 1
        assert await empty_stream(bus) == 1
        await bus.stream.delete_stream(STREAM)


@pytest.mark.parametrize("step", ["delete_stream", "add_stream", "add_consumer"])
@pytest.mark.parametrize("done", [False, True])
async def test_a_stream_is_made_anew_though_the_server_fails_in_the_middle(
    servers: Platform, monkeypatch: pytest.MonkeyPatch, step: str, done: bool
) -> None:
    async with Bus.open(servers.environment["NATS_URL"], "restore") as bus:
        await bus.until_connected()
        assert await bus.ensure_stream()
        await bus.stream.add_consumer(STREAM, ConsumerConfig(durable_name="theirs"))
        real, calls = getattr(bus.stream, step), count()

        async def failing_once(*args: object) -> object:
            first = next(calls) == 0
            if done or not first:
                answer = await real(*args)
            if first:
                raise ServerError(500, "error creating store for stream", 10049)
            return answer

        monkeypatch.setattr(bus.stream, step, failing_once)
        await empty_stream(bus)
        assert next(calls) > 1
        assert (await bus.stream.consumer_info(STREAM, "theirs")).num_pending == 0
        await bus.stream.delete_stream(STREAM)

"""The bus: deliveries go on whatever becomes of the broker, and a bad one spoils no other."""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from pymongo.errors import AutoReconnect

from mercato import events
from mercato.embedded.supervisor import Platform
from mercato.kernel.errors import Unavailable
from mercato.kernel.identity import new_id
from mercato.platform.bus import Bus, Consumer, Delivery, Letter, consumer
from mercato.platform.bus.consumer import ATTEMPTS_MAX
from tests.platform.conftest import Until


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets less time pass between one delivery and the next."""
    monkeypatch.setattr(consumer, "RETRY_DELAY_S", 0.05)
    monkeypatch.setattr(consumer, "ACK_WAIT_S", 1.0)


class Listener:
    """Keeps what it is handed; fails as it is told to."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.parked: list[str] = []
        self.batches: list[int] = []
        self.failures: list[Exception] = []
        self.poison: set[str] = set()
        self.most = 1000  # at once; more would take too long

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        self.batches.append(len(deliveries))
        if len(deliveries) > self.most:
            raise Unavailable("that was too much for the time that there is")
        if self.failures:
            raise self.failures.pop()
        for delivery in deliveries:
            if delivery.payload.decode() in self.poison:
                raise ZeroDivisionError
        self.heard += [delivery.payload.decode() for delivery in deliveries]

    async def park(self, delivery: Delivery, reason: str) -> None:
        self.parked.append(delivery.payload.decode())


@asynccontextmanager
async def listening(bus: Bus, listener: Listener) -> AsyncIterator[str]:
    """Consumes a subject of the test's own; yields it."""
    subject = f"order.{new_id()}"
    feeding = Consumer(bus, f"test-{new_id()}", [subject], listener, listener.park)
    running = asyncio.ensure_future(feeding.run())
    try:
        yield subject
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def letters(subject: str, *names: str) -> list[Letter]:
    return [Letter(subject, name.encode(), {"Nats-Msg-Id": f"{subject}:{name}"}) for name in names]


async def publish(bus: Bus, subject: str, *names: str) -> None:
    """As the relay does it: until the stream has them all."""
    async with asyncio.timeout(20):
        missing = letters(subject, *names)
        while missing:
            told = await bus.publish(missing)
            missing = [each for each, there in zip(missing, told, strict=True) if not there]
            await asyncio.sleep(0.1 if missing else 0)


def numbered(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


async def test_all_that_is_published_arrives_in_its_order_and_once(bus: Bus, until: Until) -> None:
    listener = Listener()
    async with listening(bus, listener) as subject:
        await publish(bus, subject, *numbered(1000))
        await until(lambda: len(listener.heard) >= 1000)
        await publish(bus, subject, *numbered(1000))  # again, under the same message ids
        await publish(bus, subject, "end")
        await until(lambda: listener.heard[-1] == "end")
    assert listener.heard == [*numbered(1000), "end"]
    assert max(listener.batches) > 1


async def test_a_stream_and_a_consumer_that_were_deleted_are_made_again(
    bus: Bus, until: Until
) -> None:
    listener = Listener()
    async with listening(bus, listener) as subject:
        await publish(bus, subject, "a")
        await until(lambda: "a" in listener.heard)
        for each in await bus.stream.consumers_info(events.STREAM):
            await bus.stream.delete_consumer(events.STREAM, each.name)
        await publish(bus, subject, "b")
        await until(lambda: "b" in listener.heard)
        await bus.stream.delete_stream(events.STREAM)
        await publish(bus, subject, "c")
        await until(lambda: "c" in listener.heard)


@pytest.mark.parametrize("way", ["killed", "wiped"])
async def test_deliveries_go_on_when_the_broker_is_back(
    bus: Bus, servers: Platform, until: Until, way: str
) -> None:
    listener = Listener()
    async with listening(bus, listener) as subject:
        await publish(bus, subject, *numbered(5))
        await until(lambda: len(listener.heard) >= 5)
        await servers.stop("nats")
        assert await bus.publish(letters(subject, "lost")) == [False]
        if way == "wiped":
            servers.wipe("nats")
        await servers.start("nats")
        await publish(bus, subject, *numbered(5, 5))
        await until(lambda: set(numbered(5, 5)) <= set(listener.heard))
        assert bus._acks == {}


async def test_a_consumer_that_is_ahead_of_its_stream_is_made_anew(
    bus: Bus, servers: Platform, until: Until
) -> None:
    """As after a power cut that the consumer's state survived and the messages did not."""
    listener = Listener()
    async with listening(bus, listener) as subject:
        await publish(bus, subject, *numbered(20))
        await until(lambda: len(listener.heard) >= 20)
        await asyncio.sleep(0.5)
        await servers.stop("nats")
        [messages] = servers.data_dir.glob("nats/**/msgs")
        shutil.rmtree(messages)
        messages.mkdir()
        await servers.start("nats")
        await publish(bus, subject, "after")
        await until(lambda: "after" in listener.heard, 12)


async def test_a_slow_silence_does_not_end_deliveries_nor_pile_up_pulls(
    bus: Bus, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "PULL_EXPIRES_S", 1.5)
    monkeypatch.setattr(consumer, "HEARTBEAT_S", 0.3)
    listener = Listener()
    async with listening(bus, listener) as subject:
        for name in numbered(3):
            await publish(bus, subject, name)
            await until(lambda: len(listener.heard) == int(name) + 1)  # noqa: B023 - awaited here
            await asyncio.sleep(
                0.6
            )  # twice as long as a heartbeat; the last finds a pull that expired
        [mine] = [
            each
            for each in await bus.stream.consumers_info(events.STREAM)
            if each.config.filter_subject == subject or each.config.filter_subjects == [subject]
        ]
        assert mine.num_waiting is not None
        assert mine.num_waiting <= 3
        assert mine.num_ack_pending == 0


async def test_what_must_wait_is_delivered_again(bus: Bus, until: Until) -> None:
    listener = Listener()
    listener.failures = [Unavailable("the database is away"), AutoReconnect("connection closed")]
    async with listening(bus, listener) as subject:
        await publish(bus, subject, "a", "b", "c")
        await until(lambda: sorted(listener.heard) == ["a", "b", "c"])
    assert listener.parked == []


async def test_what_takes_too_long_at_once_is_tried_in_smaller_batches(
    bus: Bus, until: Until
) -> None:
    listener = Listener()
    async with listening(bus, listener) as subject:
        listener.failures = [Unavailable("it is away")] * 3
        await publish(bus, subject, *numbered(200))
        await until(lambda: not listener.failures)
        listener.most = 30
        await publish(bus, subject, *numbered(200, start=200))
        await until(lambda: sorted(map(int, listener.heard)) == [*range(400)])
    assert max(listener.batches) > listener.most, "it has never been too much"


async def test_a_database_that_is_away_for_long_parks_nothing(bus: Bus, until: Until) -> None:
    listener = Listener()
    listener.failures = [AutoReconnect("connection closed") for _ in range(ATTEMPTS_MAX + 2)]
    async with listening(bus, listener) as subject:
        await publish(bus, subject, "a")
        await until(lambda: listener.heard == ["a"])
    assert listener.parked == []


async def test_only_the_delivery_that_spoils_its_batch_is_parked(bus: Bus, until: Until) -> None:
    listener = Listener()
    listener.poison = {"7"}
    async with listening(bus, listener) as subject:
        await publish(bus, subject, *numbered(20))
        good = {name for name in numbered(20) if name != "7"}
        await until(lambda: good <= set(listener.heard), 5)
        await until(lambda: listener.parked == ["7"])
        await publish(bus, subject, "after")
        await until(lambda: "after" in listener.heard)
    assert listener.parked == ["7"]


async def test_a_place_to_park_that_is_away_too_is_tried_again(bus: Bus, until: Until) -> None:
    class Full(Listener):
        async def park(self, delivery: Delivery, reason: str) -> None:
            if not self.parked and len(self.batches) <= ATTEMPTS_MAX:
                raise AutoReconnect("connection closed")
            await super().park(delivery, reason)

    listener = Full()
    listener.poison = {"bad"}
    async with listening(bus, listener) as subject:
        await publish(bus, subject, "bad")
        await until(lambda: listener.parked == ["bad"], 25)


async def test_a_stream_that_its_operator_made_another_way_is_used_as_it_is(
    bus: Bus, until: Until
) -> None:
    info = await bus.stream.stream_info(events.STREAM)
    await bus.stream.delete_stream(events.STREAM)
    info.config.max_age = 3600
    await bus.stream.add_stream(info.config)
    try:
        listener = Listener()
        async with listening(bus, listener) as subject:
            await publish(bus, subject, "a")
            await until(lambda: listener.heard == ["a"])
        assert (await bus.stream.stream_info(events.STREAM)).config.max_age == 3600
    finally:
        await bus.stream.delete_stream(events.STREAM)


async def test_publishing_stops_when_it_is_told_to(bus: Bus) -> None:
    many = letters(f"order.{new_id()}", *numbered(256))
    for _ in range(20):
        publishing = asyncio.ensure_future(bus.publish(many))
        await asyncio.sleep(0.001)
        publishing.cancel()
        await asyncio.wait([publishing], timeout=1)
        assert publishing.cancelled()
    assert bus._acks == {}


async def test_a_connection_that_is_closed_for_good_ends_the_process(servers: Platform) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    try:
        async with Bus.open(servers.environment["NATS_URL"], "test") as bus:
            await asyncio.wait_for(bus.until_connected(), 10)
        assert not ended.is_set(), "the usual end is no such thing"
        async with Bus.open(servers.environment["NATS_URL"], "test") as bus:
            await asyncio.wait_for(bus.until_connected(), 10)
            await bus.client.close()
            await asyncio.wait_for(ended.wait(), 5)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_bus_opens_while_nats_is_away() -> None:
    async with asyncio.timeout(10), Bus.open("nats://127.0.0.1:1", "test") as bus:
        assert not bus.connected
        assert await bus.publish(letters("order.x", "a")) == [False]
        assert not await bus.ensure_stream()

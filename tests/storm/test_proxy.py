"""The proxy does to connections what it says, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import uvloop

from mercato.embedded.ports import LOOPBACK
from mercato.storm.proxy import Proxy, has_message, not_a_ping


class Counter:
    """A server that applies each line and answers with how many it has applied."""

    def __init__(self) -> None:
        self.applied = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            self.applied += 1
            writer.write(f"{self.applied}\n".encode())
        writer.close()


@pytest.fixture
async def counter() -> AsyncIterator[tuple[Counter, Proxy]]:
    applied = Counter()
    server = await asyncio.start_server(applied.serve, LOOPBACK, 0)
    proxy = Proxy("counter", server.sockets[0].getsockname()[1])
    await proxy.open()
    yield applied, proxy
    proxy.close()
    server.close()


async def dial(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"more\n")
    return await asyncio.wait_for(reader.readline(), 5)


async def test_what_is_sent_arrives_unchanged_both_ways(counter: tuple[Counter, Proxy]) -> None:
    _, proxy = counter
    streams = await dial(proxy)
    assert [await ask(*streams) for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]
    streams[1].close()


async def test_a_dropped_reply_is_of_a_request_that_was_applied(
    counter: tuple[Counter, Proxy],
) -> None:
    applied, proxy = counter
    streams = await dial(proxy)
    await ask(*streams)
    proxy.drop_replies(1)
    with pytest.raises(ConnectionResetError):
        await ask(*streams)
    assert (applied.applied, proxy.replies_dropped) == (2, 1)
    again = await dial(proxy)
    assert await ask(*again) == b"3\n", "only one reply was to be dropped"
    again[1].close()


async def test_a_cut_breaks_every_connection_and_a_new_one_works(
    counter: tuple[Counter, Proxy],
) -> None:
    _, proxy = counter
    several = [await dial(proxy) for _ in range(3)]
    for streams in several:
        await ask(*streams)
    proxy.cut()
    assert proxy.links_cut == 3
    for reader, _ in several:
        with pytest.raises(ConnectionResetError):
            await reader.readline()
    streams = await dial(proxy)
    assert await ask(*streams) == b"4\n"
    streams[1].close()


async def test_a_stall_holds_everything_and_loses_nothing(counter: tuple[Counter, Proxy]) -> None:
    _, proxy = counter
    streams = await dial(proxy)
    await ask(*streams)
    began = time.monotonic()
    proxy.stall(0.3)
    streams[1].write(b"a\n")
    await asyncio.sleep(0.05)
    assert await ask(*streams) == b"2\n"
    assert time.monotonic() - began >= 0.29
    assert await streams[0].readline() == b"3\n"
    streams[1].close()


async def test_a_delay_keeps_the_order(counter: tuple[Counter, Proxy]) -> None:
    applied, proxy = counter
    streams = await dial(proxy)
    await ask(*streams)
    proxy.delay(0.1, 0.15)
    for _ in range(20):
        streams[1].write(b"a\n")
        await asyncio.sleep(0.02)
    numbers = [int(await streams[0].readline()) for _ in range(20)]
    assert numbers == list(range(2, 22))
    assert applied.applied == 21
    streams[1].close()


async def test_a_server_that_is_away_is_a_connection_that_ends() -> None:
    proxy = Proxy("nobody", 1)
    await proxy.open()
    reader, writer = await dial(proxy)
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    writer.close()
    proxy.close()


def test_a_connection_that_is_over_can_be_cut() -> None:
    """On uvloop, as in a storm: there a closed connection has no socket any more."""

    async def cut_twice() -> None:
        proxy = Proxy("nobody", 1)
        await proxy.open()
        link = proxy.link()
        proxy.link = lambda: link  # type: ignore[method-assign]
        reader, writer = await dial(proxy)
        try:
            with pytest.raises(ConnectionResetError):
                await reader.readline()
            link.cut()
        finally:
            writer.close()
            proxy.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(cut_twice(), 5))


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big") + payload


def test_of_http2_only_frames_of_a_call_are_replies() -> None:
    settings, ping, window = frame(4, 0), frame(6, 0, b"8 bytes."), frame(8, 3, b"\0\0\1\0")
    assert not has_message(settings + ping + window)
    assert has_message(settings + frame(1, 3, b"headers"))
    assert has_message(window + frame(0, 3, b"data"))


def test_of_nats_pings_are_no_replies() -> None:
    assert not not_a_ping(b"PING\r\n")
    assert not not_a_ping(b"+OK\r\n")
    assert not_a_ping(b"MSG _INBOX.1 1 2\r\nok\r\n")

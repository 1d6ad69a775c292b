"""The load is what it says: a stall of the server is paid by every request that came meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import uvloop
from benchmarks.figures import Histogram
from benchmarks.jobs import Job, Outcome, Stage
from benchmarks.load import Load

STALL_S = 0.25


@pytest.fixture
def stage(tmp_path: Path) -> str:
    path = tmp_path / "stage.json"
    path.write_bytes(msgspec.json.encode(Stage(["p" * 24], ["a token"])))
    return str(path)


async def test_a_closed_loop_has_one_request_under_way_a_connection(stage: str) -> None:
    async with _server() as (port, seen):
        outcome = await _put(Job("order", port, stage, 3, 0.1))
    assert sum(outcome.counts.values()) == len(seen) > 3
    assert outcome.trouble == {}
    assert b"Authorization: Bearer a token\r\n" in seen[0]
    assert seen[0].endswith(b'{"items":[{"product_id":"%s","quantity":1}]}' % (b"p" * 24))


async def test_waits_count_that_a_closed_loop_would_omit(stage: str) -> None:
    async with _server(stall_s=STALL_S) as (port, seen):
        outcome = await _put(Job("product", port, stage, 2, 0.5, rate=200))
    taken = Histogram(outcome.counts)
    assert taken.total == len(seen) == 100
    # half of the requests were due while the server stood still, with two connections to it
    assert taken.percentile_s(75) > STALL_S / 3


async def test_refusals_and_cut_connections_are_told_and_not_counted(stage: str) -> None:
    async with _server(status=503) as (port, _):
        refused = await _put(Job("product", port, stage, 1, 0.05))
    assert refused.counts == {}
    assert refused.trouble["503"] > 0
    async with _server(status=0) as (port, _):
        cut = await _put(Job("product", port, stage, 1, 0.05))
    assert cut.trouble == {"cut": 1}


async def _put(job: Job) -> Outcome:
    """Puts the load as a client process does: on a loop of its own, uvloop's."""
    return await asyncio.to_thread(uvloop.run, Load(job).run())


@asynccontextmanager
async def _server(
    *, status: int = 200, stall_s: float = 0.0
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers `status` (0: hangs up), in two pieces; stands still once for `stall_s` seconds."""
    seen: list[bytes] = []
    stalled_until = time.monotonic() + stall_s

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await _read(reader):
            seen.append(request)
            await asyncio.sleep(max(0.0, stalled_until - time.monotonic()))
            if not status:
                break
            writer.write(b"HTTP/1.1 %d Fine\r\ncontent-length: 4\r\n\r\nbo" % status)
            await asyncio.sleep(0)
            writer.write(b"dy")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()
        await asyncio.sleep(0.02)  # in which the connections end


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except OSError:
        return b""

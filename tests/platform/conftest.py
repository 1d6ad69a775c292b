"""A bus on the real NATS, and a way to wait for what happens elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mercato.embedded.supervisor import Platform
from mercato.platform.bus import Bus

Until = Callable[..., Awaitable[None]]


@pytest.fixture
async def bus(servers: Platform) -> AsyncIterator[Bus]:
    async with Bus.open(servers.environment["NATS_URL"], "test") as bus:
        await asyncio.wait_for(bus.until_connected(), 10)
        yield bus


@pytest.fixture
def until() -> Until:
    async def wait(holds: Callable[[], bool], timeout_s: float = 15) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.02)

    return wait

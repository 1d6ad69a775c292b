"""Who leads in a cluster, and faults of its members."""

import contextlib
import signal
import time

from pymongo.errors import AutoReconnect

from tests.story.shop import Shop


async def primary(shop: Shop) -> str:
    """The name of the mongod that takes writes; waits for one."""
    hello = await shop.mongo.admin.command("hello")
    port = int(hello["me"].rpartition(":")[2])
    parts = shop.platform.parts()
    return next(name for name, part in parts.items() if part.ports.get("mongodb") == port)


async def step_down(shop: Shop, seconds: int = 20) -> float:
    """Has the primary resign; returns when (monotonic)."""
    began = time.monotonic()
    with contextlib.suppress(AutoReconnect):  # it may close the connections of those who ask
        await shop.mongo.admin.command("replSetStepDown", seconds)
    return began


def hit(shop: Shop, name: str, number: signal.Signals) -> float:
    """Signals a part; returns when (monotonic)."""
    shop.platform.kill(name, number)
    return time.monotonic()

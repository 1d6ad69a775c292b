"""G3: however often an order is told, and whoever dies between commit and ack, it takes once."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from bson import ObjectId

from mercato.embedded.ports import any_free
from mercato.kernel.identity import new_id
from mercato.platform.bus import Bus, Letter
from mercato.platform.settings import whole_environment
from tests.proof.figures import Crowd, Figures, sized
from tests.story.shop import Shop, eventually

TOLD = 10
AT_ONCE = 500
LIFE_S_MAX = 30.0
pytestmark = pytest.mark.timeout(600)


@asynccontextmanager
async def inventory_away(shop: Shop) -> AsyncIterator[None]:
    await shop.platform.stop("inventory")
    try:
        yield
    finally:
        await asyncio.wait_for(shop.platform.start("inventory"), 30)


async def tell_all(shop: Shop, orders: list[str], product: str) -> None:
    """Publishes the creation of each order TOLD times, as so many messages."""
    async with Bus.open(shop.platform.environment["NATS_URL"], "proof") as bus:
        await bus.until_connected()
        payloads = [
            json.dumps({"order_id": o, "items": [{"product_id": product, "quantity": 1}]}).encode()
            for o in orders
        ]
        left = [
            Letter("order.created", payload, {"Nats-Msg-Id": new_id()})
            for payload in payloads
            for _ in range(TOLD)
        ]
        while left:
            some, left = left[:AT_ONCE], left[AT_ONCE:]
            taken = await bus.publish(some)
            left += [letter for letter, there in zip(some, taken, strict=True) if not there]


async def a_life(shop: Shop) -> int:
    """Runs an inventory that dies after its first commit; returns its exit code."""
    ports = {"PORT": str(any_free()), "METRICS_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.proof.dying_inventory"),
        env={**whole_environment(), **shop.platform.environment, **ports},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        return await asyncio.wait_for(process.wait(), LIFE_S_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 0


async def test_a_thousand_orders_told_ten_times_over_a_hundred_deaths_take_one_unit_each(
    shop: Shop, figures: Figures
) -> None:
    wanted, deaths, crowd = sized(1_000, least=100), sized(100, least=5), Crowd()
    product, orders = await shop.add_product(100_000), [new_id() for _ in range(wanted)]
    ids = [ObjectId(order_id) for order_id in orders]
    killed = 0
    async with inventory_away(shop):
        await tell_all(shop, orders, product)
        for _ in range(deaths):
            killed += await a_life(shop) == -signal.SIGKILL

    async def all_decided() -> bool:
        return await shop.database.reservations.count_documents({"_id": {"$in": ids}}) == wanted

    await eventually(all_decided, 60, "orders were never decided")
    await asyncio.sleep(6)  # what was not acknowledged is delivered again after five seconds
    query = {"product_id": ObjectId(product), "cause": "held"}
    decrements = await shop.database.stock_ledger.count_documents(query)
    answered = await shop.database.inventory_outbox.find(
        {"about": {"$in": orders}}, {"emission": 1}
    ).to_list()
    figures.tell(
        "G3", orders=wanted, told_each=TOLD, deaths_between_commit_and_ack=killed,
        decrements=decrements, reservations=wanted,
        answers_told=sum(row["emission"] for row in answered), cores_free_for_us=crowd.free_cores,
    )  # fmt: skip
    assert killed == deaths, "a life did not end after its commit"
    assert decrements == wanted
    assert await shop.stock(product) == 100_000 - wanted
    await shop.balanced(product)

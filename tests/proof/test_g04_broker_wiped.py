"""G4: the loss of everything that the broker has, at any moment, loses no order."""

import asyncio
import random
import time

import pytest

from tests.proof.figures import Crowd, Figures, sized
from tests.proof.traffic import clients
from tests.story.shop import Shop

SETTLED_S_MAX = 30.0
CLIENTS = 16
SEED = 4
pytestmark = pytest.mark.timeout(600)


async def test_fifty_wipes_of_the_broker_at_random_points_lose_nothing(
    shop: Shop, figures: Figures
) -> None:
    wipes, dice, crowd = sized(50, least=3), random.Random(SEED), Crowd()
    buyer = await shop.register("wiped")
    products = [await shop.add_product(100_000) for _ in range(4)]
    async with clients(shop, buyer, products, CLIENTS) as traffic:
        for _ in range(wipes):
            await asyncio.sleep(dice.uniform(0.05, 0.8))
            shop.platform.kill("nats")
            await shop.platform.stop("nats")
            shop.platform.wipe("nats")
            await asyncio.wait_for(shop.platform.start("nats"), 30)
        back, open_then = time.monotonic(), await _waiting(shop)
    states = await shop.settled(traffic.placed, within_s=180)
    settled_s = time.monotonic() - back
    for product in products:
        await shop.balanced(product)
    figures.tell(
        "G4", wipes=wipes, orders=len(traffic.placed), open_at_last_return=open_then,
        settled_s_after_last_return=settled_s, lost=len(traffic.placed) - states.total(),
        cores_free_for_us=crowd.free_cores,
    )  # fmt: skip
    assert states == {("PENDING", "RESERVED"): len(traffic.placed)}
    assert settled_s <= SETTLED_S_MAX


async def _waiting(shop: Shop) -> int:
    return await shop.database.orders.count_documents({"stock": "AWAITING"})

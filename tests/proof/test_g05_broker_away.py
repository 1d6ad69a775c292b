"""G5: while the broker is away orders are taken as always, and afterwards all of them settle.

PROOF_AWAY_S is how long it is away (120 s unless said otherwise), at PROOF_PER_S orders a second.
"""

import asyncio
import time

import pytest

from tests.proof.figures import Crowd, Figures, chosen, p99_ms, scale
from tests.proof.traffic import paced
from tests.story.shop import Shop

AWAY_S = chosen("PROOF_AWAY_S", 120 * scale())
PER_S = chosen("PROOF_PER_S", 100)
BASELINE_S = max(30 * scale(), 5.0)
ACCEPTED_LEAST = 0.999
SLOWER_MAX = 1.2
SLACK_MS = 20.0  # of a p99 that is itself some tens of milliseconds
DRAIN_PER_S_LEAST = 60_000 / 300
pytestmark = pytest.mark.timeout(1_800)


async def test_a_broker_that_is_away_costs_no_order_and_no_speed(
    shop: Shop, figures: Figures
) -> None:
    buyer, product, crowd = await shop.register("away"), await shop.add_product(10_000_000), Crowd()
    async with paced(shop, buyer, product, PER_S) as traffic:
        await asyncio.sleep(5)
        traffic.cut()
        await asyncio.sleep(BASELINE_S)
        before = traffic.cut()
        await shop.platform.stop("nats")
        await asyncio.sleep(AWAY_S)
        during = traffic.cut()
    waiting = await shop.database.orders.count_documents({"stock": "AWAITING"})
    back = time.monotonic()
    await asyncio.wait_for(shop.platform.start("nats"), 30)
    placed = before.placed + during.placed + traffic.placed
    states = await shop.settled(placed, within_s=max(300.0, waiting / 50))
    drain_s = time.monotonic() - back
    accepted = len(during.placed) / max(during.tried, 1)
    figures.tell(
        "G5", away_s=AWAY_S, tried_per_s=during.tried / AWAY_S, accepted_part=accepted,
        p99_ms_before=p99_ms(before.seconds), p99_ms_away=p99_ms(during.seconds),
        backlog=waiting, drain_s=drain_s, drained_per_s=waiting / drain_s,
        lost=len(placed) - states.total(), cores_free_for_us=crowd.free_cores,
    )  # fmt: skip
    assert states == {("PENDING", "RESERVED"): len(placed)}
    assert accepted >= ACCEPTED_LEAST, during.refused
    assert p99_ms(during.seconds) <= SLOWER_MAX * p99_ms(before.seconds) + SLACK_MS
    assert waiting / drain_s >= DRAIN_PER_S_LEAST * min(1, crowd.free_cores / 2)

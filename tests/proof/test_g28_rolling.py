"""G28: every service gets new processes again and again under load, and no request fails.

One copy of each service at the same time, then the other: harder than one after the other.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mercato.embedded import rolling
from mercato.embedded.plan import RPC_SERVICES
from mercato.embedded.size import CLUSTER, kind_of
from mercato.embedded.supervisor import Platform
from tests.cluster.load import Load, lost, nothing_lost
from tests.proof.figures import Figures, chosen, sized
from tests.story.shop import Shop

SERVICES = (*RPC_SERVICES, "gateway")
ROUNDS = sized(20)
RATE = chosen("PROOF_RATE", 200)
EXIT_S_MAX = 10.0
pytestmark = pytest.mark.timeout(60 + 90 * ROUNDS)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Shop]:
    async with Platform.open(tmp_path, size=CLUSTER) as platform:
        opened = Shop(platform)
        await opened.open()
        yield opened
        await opened.close()


async def test_twenty_rolling_restarts_of_each_service_fail_no_request(
    cluster: Shop, figures: Figures
) -> None:
    buyer = await cluster.register("rolling")
    products = [await cluster.add_product(1_000_000) for _ in range(50)]
    exits: dict[str, list[float]] = {name: [] for name in SERVICES}
    async with Load(cluster, buyer, products, RATE, orders_part=0.2).running() as load:
        began = time.monotonic()
        await load.first_write_s(began, 15)
        for _ in range(ROUNDS):
            for copies in zip(*map(CLUSTER.services, SERVICES), strict=True):
                done = await asyncio.gather(
                    *(rolling.restart(cluster.platform.data_dir, copy) for copy in copies)
                )
                for one in done:
                    exits[kind_of(one.name)].append(one.exit_s)
                await asyncio.sleep(rolling.SETTLE_S)
        seconds = time.monotonic() - began
    for service, each in exits.items():
        figures.tell(f"G28 {service}", restarts=len(each), exit_s_max=max(each))
    sent = load.reads + len(load.written_at) + len(load.failed_writes)
    figures.tell(
        "G28", requests=sent, per_s=sent / seconds, orders=len(load.placed),
        lost=await lost(load), failed=len(load.failed), slowest_read_s=load.slowest_read_s,
    )  # fmt: skip
    assert load.failed == []
    assert max(max(each) for each in exits.values()) <= EXIT_S_MAX
    await nothing_lost(load, within_s=60)

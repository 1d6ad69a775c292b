"""G28: every service gets new processes again and again under load, and no request fails."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mercato.embedded import rolling
from mercato.embedded.plan import RPC_SERVICES
from mercato.embedded.size import CLUSTER
from mercato.embedded.supervisor import Platform
from tests.cluster.load import Load, lost, nothing_lost
from tests.proof.figures import Figures, chosen, sized
from tests.story.shop import Shop

SERVICES = (*RPC_SERVICES, "gateway")
COPIES = [(service, copy) for service in SERVICES for copy in CLUSTER.services(service)]
ROUNDS = sized(20)
SECONDS_MAX = chosen("PROOF_SECONDS", 3_000)
RATE = chosen("PROOF_RATE", 200)
EXIT_S_MAX = 10.0
pytestmark = pytest.mark.timeout(SECONDS_MAX + 300)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Shop]:
    async with Platform.open(tmp_path, size=CLUSTER) as platform, Shop.of(platform) as opened:
        yield opened


async def test_twenty_rolling_restarts_of_each_service_fail_no_request(
    cluster: Shop, figures: Figures
) -> None:
    buyer = await cluster.register("rolling")
    products = [await cluster.add_product(1_000_000) for _ in range(50)]
    exits: dict[str, list[float]] = {name: [] for name in SERVICES}
    async with Load(cluster, buyer, products, RATE, orders_part=0.1).running() as load:
        began = time.monotonic()
        await load.first_write_s(began, 15)
        for service, copy in ROUNDS * COPIES:
            if time.monotonic() - began > SECONDS_MAX:
                break
            done = await rolling.restart(cluster.platform.data_dir, copy)
            exits[service].append(done.exit_s)
            await asyncio.sleep(rolling.SETTLE_S)
        seconds = time.monotonic() - began
    for service, each in exits.items():
        figures.tell(f"G28 {service}", restarts=len(each), exit_s_max=max(each, default=0.0))
    sent = load.reads + len(load.written_at) + len(load.failed_writes)
    figures.tell(
        "G28", requests=sent, per_s=sent / seconds, orders=len(load.placed),
        lost=await lost(load), failed=len(load.failed), slowest_read_s=load.slowest_read_s,
    )  # fmt: skip
    assert load.failed == []
    assert 0 < max(max(each, default=0.0) for each in exits.values()) <= EXIT_S_MAX
    await nothing_lost(load, within_s=60)

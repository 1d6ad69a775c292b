"""G6: the database is killed, frozen and deposed under load; no acknowledged order is lost."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mercato.embedded.size import CLUSTER
from mercato.embedded.supervisor import Platform
from tests.cluster.load import Load, lost, nothing_lost
from tests.cluster.members import hit, primary, step_down
from tests.proof.figures import Figures, chosen, percentile, sized
from tests.story.shop import Shop

KILLS = sized(20)
PAUSE_S = chosen("PROOF_KILL_EVERY_S", 10)
ROUNDS = sized(3)  # of each fault in the cluster
RATE = chosen("PROOF_RATE", 40)
SINGLE_S_MAX = 3.0  # from when mongod works again
CLUSTER_S_MAX = 15.0  # from the fault
FROZEN_S = 10.0
SETTLE_S = 3.0
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with (
        Platform.open(tmp_path_factory.mktemp("cluster"), size=CLUSTER) as platform,
        Shop.of(platform) as opened,
    ):
        yield opened


async def load_on(shop: Shop) -> Load:
    buyer = await shop.register("failover")
    return Load(shop, buyer, [await shop.add_product(1_000_000) for _ in range(20)], RATE)


async def test_a_single_mongod_may_be_killed_every_ten_seconds(
    shop: Shop, figures: Figures
) -> None:
    since_ready: list[float] = []
    async with (await load_on(shop)).running() as load:
        await load.first_write_s(time.monotonic(), CLUSTER_S_MAX)
        for _ in range(KILLS):
            began = hit(shop, "mongo", signal.SIGKILL)
            await asyncio.wait_for(shop.platform.wait_ready("mongo"), 30)
            ready = time.monotonic()
            await load.first_write_s(began, CLUSTER_S_MAX)
            since_ready.append(max(0.0, time.monotonic() - ready))
            await asyncio.sleep(max(0.0, PAUSE_S - (time.monotonic() - began)))
    figures.tell(
        "G6", kills=KILLS, acknowledged=len(load.placed), lost=await lost(load),
        first_write_after_restart_s_max=max(since_ready),
        first_write_after_restart_s_median=percentile(since_ready, 0.5),
        refused_with_503=len(load.failed),
    )  # fmt: skip
    assert [each for each in load.failed if "503 " not in each] == []
    await nothing_lost(load, within_s=60)
    assert max(since_ready) <= SINGLE_S_MAX


async def killed(shop: Shop) -> float:
    return hit(shop, await primary(shop), signal.SIGKILL)


async def deposed(shop: Shop) -> float:
    return await step_down(shop)


async def frozen(shop: Shop) -> float:
    name = await primary(shop)
    began = hit(shop, name, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(FROZEN_S, hit, shop, name, signal.SIGCONT)
    return began


async def broker_frozen(shop: Shop) -> float:
    began = hit(shop, "nats-1", signal.SIGSTOP)
    asyncio.get_running_loop().call_later(FROZEN_S, hit, shop, "nats-1", signal.SIGCONT)
    return began


async def broker_killed(shop: Shop) -> float:
    return hit(shop, "nats-2", signal.SIGKILL)


async def copies_killed(shop: Shop) -> float:
    for name in ("user-1", "inventory-1", "order-1", "mailer-1", "gateway-1"):
        began = hit(shop, name, signal.SIGKILL)
    return began


async def copies_frozen(shop: Shop) -> float:
    names = ("user-2", "inventory-2", "order-2", "mailer-2", "gateway-2")
    for name in names:
        began = hit(shop, name, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(FROZEN_S, hit, shop, name, signal.SIGCONT)
    return began


FAULTS: list[Callable[[Shop], Awaitable[float]]] = [
    killed, deposed, frozen, broker_killed, broker_frozen, copies_killed, copies_frozen,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_cluster_loses_any_member_and_writes_again_within_fifteen_seconds(
    cluster: Shop, figures: Figures, fault: Callable[[Shop], Awaitable[float]]
) -> None:
    seconds = []
    async with (await load_on(cluster)).running() as load:
        await load.first_write_s(time.monotonic(), CLUSTER_S_MAX)
        for _ in range(ROUNDS):
            began = await fault(cluster)
            seconds.append(await load.first_write_s(began, 2 * CLUSTER_S_MAX))
            await asyncio.sleep(max(0.0, FROZEN_S + 1 - (time.monotonic() - began)))
            await asyncio.wait_for(cluster.platform.wait_ready(), 60)
            await asyncio.sleep(SETTLE_S)
    figures.tell(
        f"G6 {fault.__name__}", rounds=ROUNDS, acknowledged=len(load.placed),
        lost=await lost(load), first_write_s_max=max(seconds),
        refused_writes=len(load.failed_writes), reads=load.reads,
        failed_reads=len(load.failed_reads), slowest_read_s=load.slowest_read_s,
    )  # fmt: skip
    assert load.failed_reads == []
    assert [each for each in load.failed_writes if not each.startswith("503 ")] == []
    await nothing_lost(load, within_s=60)
    assert max(seconds) <= CLUSTER_S_MAX

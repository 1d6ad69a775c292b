"""A cluster loses its leader, a copy and all its processes in turn: nobody notices for long."""

import asyncio
import signal
import time

import nats

from mercato import events
from mercato.embedded import rolling, state
from mercato.embedded.plan import RPC_SERVICES
from mercato.embedded.size import kind_of
from tests.cluster.load import Load, nothing_lost
from tests.cluster.members import hit, primary
from tests.story.shop import Shop

WRITES_AGAIN_S_MAX = 15.0
EXIT_S_MAX = 10.0


async def ready(shop: Shop) -> None:
    await asyncio.wait_for(shop.platform.wait_ready(), 60)


async def load_on(shop: Shop, rate: float) -> Load:
    buyer = await shop.register("cluster")
    return Load(shop, buyer, [await shop.add_product(100_000) for _ in range(5)], rate)


async def test_facts_are_kept_on_three_servers(shop: Shop) -> None:
    servers = shop.platform.environment["NATS_URL"].split(",")
    client = await nats.connect(servers)
    stream = await client.jetstream().stream_info(events.STREAM)
    await client.close()
    assert len(servers) == stream.config.num_replicas == 3


async def test_killing_the_primary_and_a_copy_loses_no_order_and_no_read(shop: Shop) -> None:
    async with (await load_on(shop, 30)).running() as load:
        await load.first_write_s(time.monotonic(), WRITES_AGAIN_S_MAX)
        struck = hit(shop, await primary(shop), signal.SIGKILL)
        await load.first_write_s(struck, WRITES_AGAIN_S_MAX)
        struck = hit(shop, "order-1", signal.SIGSTOP)
        await asyncio.sleep(3)
        hit(shop, "order-1", signal.SIGKILL)
        await load.first_write_s(struck, WRITES_AGAIN_S_MAX)
    assert load.failed_reads == []
    await ready(shop)
    await nothing_lost(load, within_s=60)


async def test_a_new_process_for_every_service_fails_no_request(shop: Shop) -> None:
    known = state.running(shop.platform.data_dir)
    names = [name for name in rolling.chosen(known, ()) if name.endswith("-2")]
    async with (await load_on(shop, 30)).running() as load:
        await load.first_write_s(time.monotonic(), WRITES_AGAIN_S_MAX)
        done = await asyncio.gather(
            *(rolling.restart(shop.platform.data_dir, name) for name in names)
        )
        await asyncio.sleep(rolling.SETTLE_S)
    assert load.failed == []
    assert {kind_of(name) for name in names} == {*RPC_SERVICES, "gateway"}
    assert max(each.exit_s for each in done) <= EXIT_S_MAX
    await nothing_lost(load, within_s=60)

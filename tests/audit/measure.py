"""How long an audit takes: `python -m tests.audit.measure ORDERS`, on a mongod of its own."""

import asyncio
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from mercato.audit.auditing import verify
from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.inventory.repository import SHAPES as INVENTORY
from mercato.mailer.repository import SHAPES as MAILER
from mercato.order.repository import SHAPES as ORDER
from mercato.platform.mongo import Store
from mercato.platform.settings import Secret
from mercato.user.repository import SHAPES as USER
from tests.audit.books import Keeper, put

BATCH = 1000
TWICE_MAX = 200_000
MIB = 1024 * 1024


async def main(count: int) -> None:
    """Fills a database with `count` orders and audits it; prints seconds and memory."""
    only_mongo = Given(nats_url=Secret("nats://x"), redis_addr="x:1", smtp_host="x")
    folder = tempfile.mkdtemp()
    try:
        async with (
            Platform.open(Path(folder), services=(), given=only_mongo) as platform,
            Store.open(platform.environment["MONGO_URI"], "ecommerce") as store,
        ):
            await store.ensure({**INVENTORY, **ORDER, **USER, **MAILER})
            await fill(store, count)
            await audit(store, platform, count)
    finally:
        shutil.rmtree(folder)


async def fill(store: Store, count: int) -> None:
    keeper, began = Keeper(products=10_000), time.monotonic()
    for _ in range(count // BATCH):
        await put(store, keeper.orders(BATCH))
    await put(store, keeper.catalogue())
    say(f"{count} orders written in {time.monotonic() - began:.0f} s")


async def audit(store: Store, platform: Platform, count: int) -> None:
    process = platform.parts()["mongo"].process
    mongod = process.find() if process else None
    for _ in range(2 if count <= TWICE_MAX else 1):
        cpu = time.process_time()
        report = await verify(store)
        cpu = time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        server = mongod.memory_info().rss // MIB if mongod else 0
        say(
            f"audited in {report.seconds:.1f} s ({cpu:.1f} s of a core), clean: {report.clean}, "
            f"our peak {peak} MiB, mongod {server} MiB"
        )
        say(", ".join(f"{check.name} {check.looked_at}" for check in report.checks.values()))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

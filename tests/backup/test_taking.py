"""A backup under running orders is one moment; one that does not end well is none."""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from mercato import backup
from mercato.backup import BackupError, Manifest
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from tests.backup.folders import Documents, contents, mercato, names_in
from tests.story.shop import Shop


def is_one_moment(found: Documents) -> None:
    """What one transaction wrote is all there, or nothing of it."""
    told = {row["_id"] for row in found["order_outbox"]}
    assert all(f"{order['_id']}:order.created" in told for order in found["orders"])
    for product in found["products"]:
        moves = [row for row in found["stock_ledger"] if row["product_id"] == product["_id"]]
        assert sum(row["delta"] for row in moves) == product["stock"]
    held = {row["_id"] for row in found["reservations"] if row["state"] == "HELD"}
    moved = {row["by"].partition(":")[2] for row in found["stock_ledger"] if row["cause"] == "held"}
    assert {str(each) for each in held} <= moved
    settled = {order["_id"] for order in found["orders"] if order["stock"] == "RESERVED"}
    assert settled <= held | {row["_id"] for row in found["reservations"]}


async def test_a_backup_under_running_orders_is_one_moment_and_comes_back_verified(
    platform: Platform, shop: Shop, target: Store, tmp_path: Path
) -> None:
    buyer, product = await shop.register("backup"), await shop.add_product(10_000)
    placed: list[str] = []

    async def go_on() -> None:
        while True:
            orders = (shop.place_for_sure(buyer, {product: 1}) for _ in range(8))
            placed.extend(order["id"] for order in await asyncio.gather(*orders))

    traffic = asyncio.get_running_loop().create_task(go_on())
    folder = tmp_path / "backup"
    await asyncio.sleep(0.5)
    before = len(placed)
    code, out, err = await mercato("backup", folder, "--data-dir", platform.data_dir, "--json")
    after = len(placed)
    traffic.cancel()
    assert code == 0, err
    found = contents(folder)
    is_one_moment(found)
    mine = {str(order["_id"]) for order in found["orders"]} & set(placed)
    assert set(placed[:before]) <= mine
    assert before < after, "no order was placed during the backup"

    other = tmp_path / "other"
    code, out, err = await mercato("restore", folder, "--data-dir", other, "--json")
    assert code == 0, err + out
    told = json.loads(out)
    counts = {name: len(each) for name, each in found.items()}
    restored = told["manifest"]["collections"]
    assert {name: each["documents"] for name, each in restored.items()} == counts
    assert told["holds"], told["findings"]


async def test_a_full_disk_leaves_nothing_behind(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    words = ("backup", folder, "--data-dir", platform.data_dir)
    code, _, err = await mercato(*words, ulimit="ulimit -f 1")
    assert code == 1
    assert "the backup cannot be written" in err
    assert list(names_in(tmp_path)) == []


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from mercato import backup
from mercato.platform.mongo import Store

async def main(uri, folder):
    async with Store.open(uri, "small") as store:
        await backup.take(store, Path(folder), tell=lambda *_: os.kill(os.getpid(), signal.SIGKILL))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_backup_is_none_and_the_next_one_takes_its_place(
    servers: Platform, small: Path, tmp_path: Path
) -> None:
    uri, folder = servers.environment["MONGO_URI"], tmp_path / "backup"
    command = (sys.executable, "-c", KILLED, uri, str(folder))
    killed = await asyncio.create_subprocess_exec(*command)
    assert await killed.wait() == -signal.SIGKILL
    half = tmp_path / ".backup.partial"
    assert list(names_in(tmp_path)) == [half.name]
    assert list((half / "small").iterdir()), "it was killed before it wrote anything"
    with pytest.raises(BackupError, match="is no backup"):
        backup.read(half)
    async with Store.open(uri, "small") as store:
        manifest: Manifest = await backup.take(store, folder, compressed=True)
        backup.check(folder, backup.read(folder), backup.silent)
        assert manifest == backup.read(folder)
        with pytest.raises(BackupError, match="is there already"):
            await backup.take(store, folder)
    assert list(names_in(tmp_path)) == ["backup"]


async def test_a_backup_that_outlasts_what_mongod_remembers_says_which_setting_to_raise(
    servers: Platform, small: Path, tmp_path: Path
) -> None:
    uri, window = servers.environment["MONGO_URI"], "minSnapshotHistoryWindowInSeconds"
    with MongoClient[dict[str, Any]](uri) as client:
        before = client.admin.command({"setParameter": 1, window: 0})["was"]

        def dawdle(_collection: str, _documents: int) -> None:
            for _ in range(3):
                client["small"]["later"].insert_one({})
                time.sleep(0.5)

        try:
            async with Store.open(uri, "small") as store:
                with pytest.raises(BackupError) as refusal:
                    await backup.take(store, tmp_path / "backup", tell=dawdle)
        finally:
            client.admin.command({"setParameter": 1, window: before})
            client["small"]["later"].drop()
    assert window in refusal.value.remedy
    assert list(names_in(tmp_path)) == []

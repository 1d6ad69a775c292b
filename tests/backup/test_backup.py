"""A backup under running orders is one moment; what is no whole backup is refused."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions

from mercato import backup
from mercato.backup import BackupError, Change, Manifest, Restore
from mercato.cli.restore import Restoring
from mercato.embedded.errors import PlatformError
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from mercato.platform.settings import whole_environment
from tests.story.shop import Shop

Documents = dict[str, list[dict[str, Any]]]


async def mercato(*words: str | Path, ulimit: str = "ulimit -c 0") -> tuple[int, str, str]:
    """Runs a command beside the test's own traffic: its exit code, answer and errors."""
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", f'{ulimit}; exec "$@"', "sh", sys.executable, "-P", "-m", "mercato",
        *map(str, words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=whole_environment(),
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, out.decode(), err.decode()


@pytest.fixture
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    opened = Shop(platform)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def target(servers: Platform) -> AsyncIterator[Store]:
    """An empty database to restore into."""
    async with Store.open(servers.environment["MONGO_URI"], "restored") as store:
        await store.client.drop_database("restored")
        yield store


@pytest.fixture(scope="session")
async def small(servers: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a small database of its own."""
    folder = tmp_path_factory.mktemp("small") / "backup"
    async with Store.open(servers.environment["MONGO_URI"], "small") as store:
        await store["orders"].insert_many([{"n": n, "text": "x" * 100} for n in range(500)])
        await store["orders"].create_index([("n", 1)], name="n", unique=True)
        await store["mails"].insert_many([{"state": "NEW"}, {"state": "SENT"}])
        await backup.take(store, folder)
    return folder


def contents(folder: Path) -> Documents:
    manifest = backup.read(folder)
    backup.check(folder, manifest, backup.silent)
    paths = {name: manifest.path(folder, name) for name in manifest.collections}
    options: CodecOptions[Any] = CodecOptions(tz_aware=True)
    return {name: bson.decode_all(path.read_bytes(), options) for name, path in paths.items()}


async def documents(store: Store) -> Documents:
    names = await store.database.list_collection_names()
    return {name: await store[name].find().sort("_id", 1).to_list() for name in names}


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


async def test_a_database_that_is_not_empty_is_replaced_only_when_that_is_wanted(
    small: Path, target: Store
) -> None:
    await target["users"].insert_one({})
    for replace, yes, refusal in ((False, True, "not empty: users"), (True, False, "asked")):
        restoring = Restoring(small, backup.read(small), replace=replace, yes=yes, json=True)
        with pytest.raises(PlatformError, match=refusal):
            await restoring.agreed(Restore(target, small, backup.read(small)))
    restoring = Restoring(small, backup.read(small), replace=True, yes=True, json=True)
    step = Restore(target, small, backup.read(small))
    assert await restoring.agreed(step) == {"users": 1}


async def test_what_is_restored_is_what_was_there_with_its_indexes(
    small: Path, target: Store
) -> None:
    restore = Restore(target, small, backup.read(small))
    await target["old"].insert_one({})
    assert await restore.present() == {"old": 1}
    await restore.load({"mails": Change({"state": "NEW"}, {"$set": {"state": "PARKED"}})})
    assert set(await documents(target)) == {"old", "restoring.orders", "restoring.mails"}
    assert await restore.halfway()
    await restore.switch()
    there = await documents(target)
    assert set(there) == {"orders", "mails"}
    assert there["orders"] == contents(small)["orders"]
    assert [mail["state"] for mail in there["mails"]] == ["PARKED", "SENT"]
    assert (await target["orders"].index_information())["n"]["unique"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _shorten(path: Path) -> None:
    first = next(iter(backup.manifest.documents_of(path)))
    path.write_bytes(path.read_bytes()[len(first) :])


def _alter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"x" * 100, b"x" * 99 + b"y", 1))


def _lose(path: Path) -> None:
    path.unlink()


def _forget_manifest(path: Path) -> None:
    (path.parents[1] / "manifest.json").unlink()


def _cut_manifest(path: Path) -> None:
    _cut(path.parents[1] / "manifest.json")
    _cut(path.parents[1] / "manifest.json")


def _add(path: Path) -> None:
    (path.parent / "users.bson").write_bytes(b"")


@pytest.mark.parametrize(
    "harm", [_cut, _shorten, _alter, _lose, _forget_manifest, _cut_manifest, _add]
)
def test_a_backup_that_is_not_as_it_was_written_is_refused(
    small: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small, folder)
    contents(folder)
    harm(folder / "small" / "orders.bson")
    with pytest.raises(BackupError):
        contents(folder)


async def test_a_harmed_backup_is_refused_before_any_server_is_asked(
    small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    await asyncio.to_thread(shutil.copytree, small, folder)
    _alter(folder / "small" / "orders.bson")
    code, _, err = await mercato("restore", folder, "--data-dir", tmp_path / "data")
    assert code == 1
    assert "has been altered or cut off" in err
    assert not (tmp_path / "data").exists()


def harmless(folder: Path) -> Iterator[str]:
    yield from (each.name for each in folder.iterdir())


async def test_a_full_disk_leaves_nothing_behind(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    words = ("backup", folder, "--data-dir", platform.data_dir)
    code, _, err = await mercato(*words, ulimit="ulimit -f 1")
    assert code == 1
    assert "the backup cannot be written" in err
    assert list(harmless(tmp_path)) == []


async def test_a_killed_backup_is_none_and_does_not_keep_the_next_one_from_being_taken(
    servers: Platform, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    async with Store.open(servers.environment["MONGO_URI"], "small") as store:
        half = folder.with_name(".backup.partial")
        half.mkdir()
        (half / "small").mkdir()
        (half / "small" / "orders.bson").write_bytes(b"half")
        with pytest.raises(BackupError, match="is no backup"):
            backup.read(half)
        await store["orders"].insert_one({"n": -1})
        manifest: Manifest = await backup.take(store, folder, compressed=True)
        backup.check(folder, backup.read(folder), backup.silent)
        assert manifest == backup.read(folder)
        with pytest.raises(BackupError, match="is there already"):
            await backup.take(store, folder)
    assert list(harmless(tmp_path)) == ["backup"]


async def test_a_database_that_services_use_is_not_restored(
    platform: Platform, small: Path
) -> None:
    async with Store.open(platform.environment["MONGO_URI"], "ecommerce") as store:
        assert await Restore(store, small, backup.read(small)).writers() > 0

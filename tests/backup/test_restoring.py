"""What is restored is what was there; what is no whole backup, or not wanted, is refused."""

import asyncio
import gzip
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import bson
import pytest
from pymongo.errors import OperationFailure

from mercato import backup
from mercato.backup import BackupError, Change, Restore
from mercato.backup.manifest import documents_of, text_of
from mercato.cli.restore import Restoring
from mercato.embedded.errors import PlatformError
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from mercato.platform.settings import SettingsError
from tests.backup.folders import contents, documents, mercato


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


def _forget_time_zone(path: Path) -> None:
    manifest = path.parents[1] / "manifest.json"
    told = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps(told | {"taken_at": told["taken_at"].rstrip("Z")}))


def _add(path: Path) -> None:
    (path.parent / "users.bson").write_bytes(b"")


@pytest.mark.parametrize(
    "harm",
    [_cut, _shorten, _alter, _lose, _forget_manifest, _cut_manifest, _forget_time_zone, _add],
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


@pytest.mark.parametrize("at", [0, 30, 54, 100, -1])
def test_a_compressed_file_that_is_harmed_is_refused_or_says_the_same(
    tmp_path: Path, at: int
) -> None:
    path = tmp_path / "orders.bson.gz"
    whole = [bson.encode({"n": n, "text": "x" * n}) for n in range(40)]
    packed = bytearray(gzip.compress(b"".join(whole)))
    packed[at] ^= 0x55
    path.write_bytes(packed)
    with suppress(BackupError):
        assert list(documents_of(path)) == whole
    with suppress(BackupError):
        assert text_of(path) == b"".join(whole)


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


async def test_a_restore_that_fails_before_its_switch_leaves_everything_as_it_was(
    small: Path, target: Store
) -> None:
    await target["orders"].insert_one({"_id": "mine"})
    step = Restore(target, small, backup.read(small))

    def fail(collection: str, _documents: int) -> None:
        if collection == "orders":
            raise OSError("a fault")

    with pytest.raises(OSError, match="a fault"):
        await step.load(tell=fail)
    await step.drop()
    assert await documents(target) == {"orders": [{"_id": "mine"}]}


async def test_a_restore_that_is_interrupted_in_its_switch_comes_to_its_end(
    small: Path, target: Store
) -> None:
    await target["orders"].insert_one({"_id": "mine"})
    await target["old"].insert_one({})
    step = Restore(target, small, backup.read(small))
    await step.load()
    switching = asyncio.ensure_future(step.switch())
    await asyncio.sleep(0)
    switching.cancel()
    await asyncio.wait([switching])
    there = await documents(target)
    assert {name: len(each) for name, each in there.items()} == {"orders": 500, "mails": 2}


async def test_no_service_starts_on_a_database_that_is_part_old_until_it_is_restored_again(
    small: Path, target: Store
) -> None:
    await target["orders"].insert_one({"_id": "mine"})
    step = Restore(target, small, backup.read(small))
    await step.load()
    await target["restoring.orders"].drop()
    with pytest.raises(OperationFailure):
        await step.switch()
    there = await documents(target)
    assert (len(there["mails"]), there["orders"]) == (2, [{"_id": "mine"}])
    with pytest.raises(SettingsError, match="restore once more"):
        await target.ensure({})
    await step.load()
    with pytest.raises(SettingsError, match="restore once more"):
        await target.ensure({})
    await step.switch()
    await target.ensure({})
    assert set(await documents(target)) == {"orders", "mails"}


async def test_a_database_that_services_use_is_not_restored(
    platform: Platform, small: Path
) -> None:
    async with Store.open(platform.environment["MONGO_URI"], "ecommerce") as store:
        assert await Restore(store, small, backup.read(small)).writers() > 0

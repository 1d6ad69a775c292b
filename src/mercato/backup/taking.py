"""Takes a backup: every collection at one cluster time, while the platform goes on writing."""

import fcntl
import gzip
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final, cast

import pymongo
from bson import json_util
from bson.timestamp import Timestamp
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from mercato.backup.manifest import (
    FILE,
    FORMAT,
    RESTORING,
    BackupError,
    Content,
    Manifest,
    Tell,
    bare,
    is_plain,
    silent,
)
from mercato.platform.mongo import Store

BATCH_DOCUMENTS: Final = 5_000  # of at most 16 MiB together, which is mongod's own limit
ATTEMPTS_MAX: Final = 3
_SNAPSHOT_UNAVAILABLE: Final = 246  # a collection was made or changed at this very moment
_SNAPSHOT_TOO_OLD: Final = (239, 136)
_TOO_LONG: Final = (
    "the backup took longer than mongod keeps its past",
    "keep more of it: db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600})",
)


async def take(
    store: Store, folder: Path, *, compressed: bool = False, tell: Tell = silent
) -> Manifest:
    """Writes the store's database, as it is at one moment, to the new `folder`.

    The folder appears whole, or not at all. Takes memory for one batch of the driver (16 MiB).
    Raises BackupError when the folder is there, cannot be written, or when mongod has forgotten
    the moment before all was read.
    """
    _insist_on_new(folder)
    with _growing(folder) as partial:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                manifest = await _write(store, partial, compressed, tell)
                break
            except OperationFailure as failure:
                if failure.code in _SNAPSHOT_TOO_OLD:
                    raise BackupError(*_TOO_LONG) from failure
                if failure.code != _SNAPSHOT_UNAVAILABLE or attempt == ATTEMPTS_MAX:
                    raise
                _empty(partial)
        _finish(partial, folder, manifest)
    return manifest


async def _write(store: Store, folder: Path, compressed: bool, tell: Tell) -> Manifest:
    database = folder / store.database.name
    database.mkdir(mode=0o700)
    contents: dict[str, Content] = {}
    async with _snapshot(store) as (session, at):
        for about in sorted(await _collections(store), key=lambda each: str(each["name"])):
            name = str(about["name"])
            metadata = await _metadata(store, about)
            _put(database / f"{name}.metadata.json", metadata, compressed)
            batches = store[name].find_raw_batches(session=session, batch_size=BATCH_DOCUMENTS)
            with _file(database / f"{name}.bson", compressed) as file:
                told, documents, size = hashlib.sha256(), 0, 0
                async for each in batches:
                    batch = cast(bytes, each)  # typed as if it were decoded
                    file.write(batch)
                    told.update(batch)
                    size += len(batch)
                    documents += _count(batch)
                    tell(name, documents)
            contents[name] = Content(
                documents, size, told.hexdigest(), hashlib.sha256(metadata).hexdigest()
            )
    taken_at = datetime.fromtimestamp(at.time, UTC)
    return Manifest(
        FORMAT, version("mercato"), taken_at, (at.time, at.inc), store.database.name, compressed,
        contents,
    )  # fmt: skip


@asynccontextmanager
async def _snapshot(store: Store) -> AsyncIterator[tuple[AsyncClientSession, Timestamp]]:
    """A session all of whose reads see one moment, and that moment.

    It is chosen by the session's first read. Collections are listed after it, so that none that it
    knows can be missed.
    """
    with pymongo.timeout(0):  # a backup may take as long as it takes
        async with store.session(snapshot=True) as session:
            await store["orders"].find_one({}, {"_id": 1}, session=session)
            # the driver keeps it to itself
            yield session, cast(Timestamp, cast(Any, session)._snapshot_time)


async def _collections(store: Store) -> list[dict[str, Any]]:
    found = [dict(each) async for each in await store.database.list_collections()]
    ours = [each for each in found if not str(each["name"]).startswith("system.")]
    for each in ours:
        if each.get("type") != "collection" or not is_plain(str(each["name"])):
            raise BackupError(f"{each['name']!r} is not a collection that this can keep")
    return [each for each in ours if not str(each["name"]).startswith(RESTORING)]


async def _metadata(store: Store, about: dict[str, Any]) -> bytes:
    """Returns what mongodump writes beside a collection: its options and indexes."""
    indexes = [dict(each) async for each in await store[str(about["name"])].list_indexes()]
    kept = {"options": about.get("options", {}), "indexes": indexes, "type": "collection"}
    kept |= {"collectionName": about["name"], "uuid": bytes(about["info"]["uuid"]).hex()}
    return json_util.dumps(kept, json_options=json_util.CANONICAL_JSON_OPTIONS).encode()


def _count(batch: bytes) -> int:
    documents = at = 0
    while at < len(batch):
        at += int.from_bytes(batch[at : at + 4], "little")
        documents += 1
    return documents


def _insist_on_new(folder: Path) -> None:
    if os.path.lexists(folder):
        raise BackupError(f"{folder} is there already", "name a new one: none is overwritten")


@contextmanager
def _growing(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, ours alone; gone afterwards, unless it has been renamed.

    What a killed backup has left there is taken over and emptied.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        with ExitStack() as stack:
            partial.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, held)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack.callback(shutil.rmtree, partial, ignore_errors=True)
            _empty(partial)
            yield partial
    except BlockingIOError:
        raise BackupError(f"another backup is writing to {folder} just now") from None
    except OSError as failure:
        where, why = failure.filename or folder, failure.strerror or failure
        raise BackupError(f"the backup cannot be written: {where}: {why}") from None


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()


@contextmanager
def _file(path: Path, compressed: bool) -> Iterator[IO[bytes]]:
    """A new file for this user alone, on the disk when it is closed."""
    place = path.with_name(f"{path.name}.gz") if compressed else path
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
        if compressed:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
                yield cast("IO[bytes]", file)
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())


def _put(path: Path, content: bytes, compressed: bool = False) -> None:
    with _file(path, compressed) as file:
        file.write(content)


def _finish(partial: Path, folder: Path, manifest: Manifest) -> None:
    _put(partial / FILE, bare(manifest))
    for each in (partial / manifest.database, partial):
        _sync(each)
    _insist_on_new(folder)
    partial.rename(folder)
    _sync(folder.absolute().parent)


def _sync(folder: Path) -> None:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(held)
    finally:
        os.close(held)

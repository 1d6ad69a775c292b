"""Brings a backup back: beside what is there first, and into its place when all of it has come."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymongo
from bson import json_util
from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel
from pymongo.errors import BulkWriteError, OperationFailure

from mercato.backup.manifest import (
    RESTORING,
    BackupError,
    Manifest,
    Tell,
    documents_of,
    silent,
    text_of,
)
from mercato.platform.mongo import HALF_RESTORED, Document, Store
from mercato.platform.tasks import finish

BATCH_DOCUMENTS: Final = 1_000
BATCH_BYTES: Final = 8 * 1024 * 1024
SERVICES: Final = "mercato"  # the name under which services know themselves to mongod
_UNAUTHORIZED: Final = 13


@dataclass(frozen=True, slots=True)
class Change:
    """What must not be brought back as it was: documents that match, and what becomes of them."""

    match: Mapping[str, Any]
    update: Mapping[str, Any]


class Restore:
    """Steps: `load`, `switch`; `drop` at any time before the switch leaves nothing behind.

    Until `switch` nothing that is in use is touched. The switch renames one collection after the
    other: killed within it, the database is part old and part new, no service starts on it, and the
    restore is to be repeated.
    """

    def __init__(self, store: Store, folder: Path, manifest: Manifest) -> None:
        self._store = store
        self._folder = folder
        self._manifest = manifest

    async def present(self) -> dict[str, int]:
        """Returns how many documents each collection has now, those that have any."""
        counts = {name: await self._count(name) for name in await self._names()}
        return {name: count for name, count in counts.items() if count}

    async def halfway(self) -> bool:
        """Whether an earlier restore has left collections that did not get to their place."""
        return any(name.startswith(RESTORING) for name in await self._names(every=True))

    async def writers(self) -> int:
        """Returns how many connections services have to the database's server.

        None are seen where the account may not look (`inprog`).
        """
        stages: Sequence[Document] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"appName": SERVICES}},
        ]
        try:
            found = await self._store.client.admin.aggregate(stages)
            return len(await found.to_list())
        except OperationFailure as failure:
            if failure.code != _UNAUTHORIZED:
                raise
            return 0

    async def load(
        self, changes: Mapping[str, Change] | None = None, tell: Tell = silent
    ) -> dict[str, int]:
        """Brings every collection beside the one it will replace, with its indexes.

        Returns how many documents of each were changed as `changes` says. Raises BackupError.
        """
        changed: dict[str, int] = {}
        with pymongo.timeout(0):
            await self.drop()
            for name in self._manifest.collections:
                await self._load(name, tell)
                change = (changes or {}).get(name)
                if change:
                    there = self._store[RESTORING + name]
                    result = await there.update_many(change.match, change.update)
                    changed[name] = result.modified_count
        return changed

    async def switch(self) -> None:
        """Puts what was loaded into its place; what the backup does not have goes.

        Who is cancelled meanwhile still does all of it.
        """
        with pymongo.timeout(0):
            await finish(self._switch())

    async def drop(self) -> None:
        """Takes away what was loaded and is not in its place."""
        with pymongo.timeout(0):
            for name in await self._names(every=True):
                if name.startswith(RESTORING):
                    await self._store[name].drop()

    async def _switch(self) -> None:
        await self._store[HALF_RESTORED].insert_one({})
        for name in self._manifest.collections:
            await self._store[RESTORING + name].rename(name, dropTarget=True)
        others = set(await self._names()) - {*self._manifest.collections, HALF_RESTORED}
        for name in (*sorted(others), HALF_RESTORED):
            await self._store[name].drop()

    async def _load(self, name: str, tell: Tell) -> None:
        path = self._manifest.path(self._folder, name, "metadata.json")
        metadata = json_util.loads(text_of(path))
        place = RESTORING + name
        await self._store.database.create_collection(place, **metadata["options"])
        done = 0
        for batch in _batches(self._manifest.path(self._folder, name)):
            try:
                await self._store[place].insert_many(batch, ordered=False)
            except BulkWriteError as failure:
                first = failure.details["writeErrors"][0]["errmsg"]
                raise BackupError(f"{name} cannot be brought back: {first}") from failure
            done += len(batch)
            tell(name, done)
        if indexes := [_index(each) for each in metadata["indexes"] if each["name"] != "_id_"]:
            await self._store[place].create_indexes(indexes)
        there = await self._store[place].count_documents({})
        if there != self._manifest.collections[name].documents:
            raise BackupError(f"of {name}, {there} documents have arrived: not as many as it had")

    async def _count(self, name: str) -> int:
        with pymongo.timeout(0):
            return await self._store[name].count_documents({})

    async def _names(self, *, every: bool = False) -> list[str]:
        names = sorted(await self._store.database.list_collection_names())
        ours = [name for name in names if not name.startswith("system.")]
        return ours if every else [name for name in ours if not name.startswith(RESTORING)]


def _batches(path: Path) -> Iterator[list[RawBSONDocument]]:
    batch: list[RawBSONDocument] = []
    size = 0
    for document in documents_of(path):
        if batch and (len(batch) == BATCH_DOCUMENTS or size + len(document) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(RawBSONDocument(document))
        size += len(document)
    if batch:
        yield batch


def _index(told: Mapping[str, Any]) -> IndexModel:
    """Returns an index as the server described it; a text index is made of its weights."""
    left_out = ("v", "key", "ns", "weights", "textIndexVersion")
    options = {name: value for name, value in told.items() if name not in left_out}
    keys = list(told["key"].items())
    if "weights" in told:
        keys = [key for key in keys if not key[0].startswith("_ft")]
        keys += [(field, "text") for field in told["weights"]]
        options["weights"] = dict(told["weights"])
    return IndexModel(keys, **options)

"""What a backup's folder holds, and whether it still holds exactly that.

`manifest.json`, and beside it what mongorestore reads: `<database>/<collection>.bson`, the
documents one after the other, and `<collection>.metadata.json` with its options and indexes; both
end in `.gz` if they are compressed. The manifest is written last, into a folder that gets its name
when all of it is on the disk.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final, cast

import msgspec

FILE: Final = "manifest.json"
FORMAT: Final = 1
REMEDY: Final = "give the folder of one"
DOCUMENT_BYTES_MIN: Final = 5
DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024 + 16 * 1024  # what mongod itself allows
UNREADABLE: Final = (OSError, EOFError, zlib.error)  # BadGzipFile is an OSError
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")

# Hears of a collection and how many of its documents are done.
Tell = Callable[[str, int], None]

# A collection that is being restored has this before its name until all are there.
RESTORING: Final = "restoring."


def silent(_collection: str, _documents: int) -> None:
    """Tells nobody."""


class BackupError(Exception):
    """A backup cannot be taken, or is none to restore from; `remedy` may be empty."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One collection: how many documents, and the size and SHA-256 of its BSON, uncompressed."""

    documents: int
    bytes: int
    sha256: str
    metadata_sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A backup: the `database` as it was at `cluster_time` (seconds, counter), `taken_at` by it."""

    format: int
    version: str
    taken_at: Annotated[datetime, msgspec.Meta(tz=True)]
    cluster_time: tuple[int, int]
    database: str
    compressed: bool
    collections: dict[str, Content]

    def path(self, folder: Path, collection: str, kind: str = "bson") -> Path:
        """Where a collection's `bson` or `metadata.json` is."""
        ending = ".gz" if self.compressed else ""
        return folder / self.database / f"{collection}.{kind}{ending}"


def read(folder: Path) -> Manifest:
    """Returns the manifest of the backup in `folder`; raises BackupError when that is none."""
    try:
        manifest = msgspec.json.decode((folder / FILE).read_bytes(), type=Manifest)
    except OSError as failure:
        why = f"{failure.filename}: {failure.strerror}" if folder.is_dir() else "it is no folder"
        raise BackupError(f"{folder} is no backup: {why}", REMEDY) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise BackupError(f"{folder} is no backup: {FILE}: {failure}", REMEDY) from None
    if manifest.format != FORMAT:
        raise BackupError(f"{folder} has format {manifest.format}; this release reads {FORMAT}")
    for name in (manifest.database, *manifest.collections):
        if not is_plain(name):
            raise BackupError(f"{folder} is no backup: {name!r} is no name of ours")
    return manifest


def check(folder: Path, manifest: Manifest, tell: Tell) -> None:
    """Reads every file to its end; raises BackupError at the first that is not as it was written.

    Takes memory for one document.
    """
    expected = {
        manifest.path(folder, name, kind)
        for name in manifest.collections
        for kind in ("bson", "metadata.json")
    }
    if strangers := set((folder / manifest.database).glob("*")) - expected:
        raise BackupError(f"{min(strangers)} does not belong to this backup")
    for name, content in manifest.collections.items():
        path = manifest.path(folder, name)
        told = hashlib.sha256()
        size = 0
        documents = 0
        for document in documents_of(path):
            told.update(document)
            size += len(document)
            documents += 1
            tell(name, documents)
        if (documents, size, told.hexdigest()) != (
            content.documents,
            content.bytes,
            content.sha256,
        ):
            raise BackupError(f"{path} is not as it was written: it has been altered or cut off")
        metadata = manifest.path(folder, name, "metadata.json")
        if hashlib.sha256(text_of(metadata)).hexdigest() != content.metadata_sha256:
            raise BackupError(f"{metadata} is not as it was written")


def documents_of(path: Path) -> Iterator[bytes]:
    """Yields the BSON documents of a file, one at a time; raises BackupError where it is none."""
    try:
        with opened(path) as file:
            while head := file.read(4):
                size = int.from_bytes(head, "little")
                if len(head) < 4 or not DOCUMENT_BYTES_MIN <= size <= DOCUMENT_BYTES_MAX:
                    raise BackupError(f"{path} is no BSON file")
                document = head + file.read(size - 4)
                if len(document) < size:
                    raise BackupError(f"{path} is cut off")
                yield document
    except UNREADABLE as failure:
        raise BackupError(f"{path} cannot be read: {failure}") from None


def text_of(path: Path) -> bytes:
    """Returns a small file's content; raises BackupError."""
    try:
        with opened(path) as file:
            return file.read()
    except UNREADABLE as failure:
        raise BackupError(f"{path} cannot be read: {failure}") from None


def opened(path: Path) -> IO[bytes]:
    """Opens a file of a backup for reading, whether compressed or not."""
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def is_plain(name: str) -> bool:
    """Whether a database's or collection's name can be a file's name as it is."""
    return _NAME.fullmatch(name) is not None


def bare(document: Any) -> bytes:
    """Returns JSON for people and programs, with a line's end."""
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"

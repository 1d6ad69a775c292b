"""Messages on disk, one file each, with an index in memory that is rebuilt at start."""

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from pathlib import Path

RECIPIENT_HEADER = "Delivered-To"
SNIPPET_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """What a search needs of a message; `id` is its file's name and orders by arrival."""

    id: str
    message_id: str
    recipients: frozenset[str]


class Store:
    """Synchronous; `add` waits for the disk, so call it off the event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, Entry] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob("*.new"):
            unfinished.unlink()
        for path in sorted(folder.glob("*.eml")):
            self._index(path.stem, path.read_bytes())

    def add(self, content: bytes, sender: str, recipients: Sequence[str]) -> str:
        """Keeps a message with its envelope; when this returns it survives a power cut."""
        envelope = [f"Return-Path: <{sender}>", *(f"{RECIPIENT_HEADER}: {to}" for to in recipients)]
        message = "\r\n".join((*envelope, "")).encode() + content
        id = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        fresh = self._folder / f"{id}.new"
        with fresh.open("wb") as file:
            file.write(message)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path(id))
        self._sync_folder()
        self._index(id, message)
        return id

    def __len__(self) -> int:
        return len(self._entries)

    def newest_first(self) -> list[Entry]:
        """Every message, the latest arrival first."""
        entries = list(self._entries.values())  # at once: other threads add meanwhile
        return sorted(entries, key=lambda entry: entry.id, reverse=True)

    def read(self, id: str) -> bytes | None:
        """The message as it was kept; None if there is none of this id."""
        return self._path(id).read_bytes() if id in self._entries else None

    def delete(self, ids: Iterable[str]) -> None:
        """Forgets these messages; unknown ids are none of our concern."""
        for id in ids:
            if self._entries.pop(id, None):
                self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.eml"

    def _index(self, id: str, message: bytes) -> None:
        head = BytesHeaderParser().parsebytes(message)  # the lenient policy: headers may be broken
        fields = [str(v) for name in ("To", "Cc", RECIPIENT_HEADER) for v in head.get_all(name, [])]
        recipients = frozenset(address.lower() for _, address in getaddresses(fields) if address)
        message_id = str(head.get("Message-ID", "")).strip().strip("<>")
        self._entries[id] = Entry(id, message_id, recipients)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

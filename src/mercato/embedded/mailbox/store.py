"""Messages on disk, one file each, with an index in memory that is rebuilt at start."""

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from pathlib import Path

RECIPIENT_HEADER = "Delivered-To"
SNIPPET_CHARACTERS = 200

# Heads and addresses that need no parser to be understood: those of nearly every mail.
_PLAIN_HEAD = re.compile(rb"(?:[!-9;-~]+: [ -~]*\r\n)+\r\n")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Message:
    """What came, and its envelope."""

    content: bytes
    sender: str
    recipients: Sequence[str]

    def as_kept(self) -> bytes:
        """The content with the envelope before it, as fields of the head."""
        envelope = [f"Return-Path: <{self.sender}>"]
        envelope += [f"{RECIPIENT_HEADER}: {recipient}" for recipient in self.recipients]
        return "\r\n".join((*envelope, "")).encode() + self.content


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
        (told,) = self.add_all([Message(content, sender, recipients)])
        if isinstance(told, OSError):
            raise told
        return told

    def add_all(self, messages: Sequence[Message]) -> list[str | OSError]:
        """Does so for several at once; returns each one's id, or why it was not kept."""
        kept = [message.as_kept() for message in messages]
        told = [self._written(octets) for octets in kept]
        ids = [each for each in told if isinstance(each, str)]
        try:
            for id in ids:
                os.replace(self._unfinished(id), self._path(id))
            self._sync_folder()
        except OSError as failure:
            for id in ids:  # they will come again
                self._path(id).unlink(missing_ok=True)
            return [failure] * len(messages)
        for each, octets in zip(told, kept, strict=True):
            if isinstance(each, str):
                self._index(each, octets)
        return told

    def __len__(self) -> int:
        return len(self._entries)

    def newest_first(self) -> list[Entry]:
        """Every message, the latest arrival first."""
        entries = list(self._entries.values())  # at once: other threads add meanwhile
        return sorted(entries, key=lambda entry: entry.id, reverse=True)

    def read(self, id: str) -> bytes | None:
        """The message as it was kept; None if there is none of this id."""
        try:
            return self._path(id).read_bytes() if id in self._entries else None
        except FileNotFoundError:  # deleted at this moment, by another thread
            return None

    def delete(self, ids: Iterable[str]) -> None:
        """Forgets these messages; unknown ids are none of our concern."""
        for id in ids:
            if self._entries.pop(id, None):
                self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.eml"

    def _unfinished(self, id: str) -> Path:
        return self._folder / f"{id}.new"

    def _written(self, octets: bytes) -> str | OSError:
        id = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        try:
            with open(self._unfinished(id), "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
        except OSError as failure:
            return failure
        return id

    def _index(self, id: str, octets: bytes) -> None:
        head = _head(octets)
        fields = [
            value for name in ("to", "cc", RECIPIENT_HEADER.lower()) for value in head.get(name, ())
        ]
        recipients = frozenset(address.lower() for field in fields for address in _addresses(field))
        message_id = head.get("message-id", [""])[0].strip().strip("<>")
        self._entries[id] = Entry(id, message_id, recipients)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _head(octets: bytes) -> dict[str, list[str]]:
    """The fields' values by name in small letters."""
    found: dict[str, list[str]] = {}
    for name, value in _fields(octets):
        found.setdefault(name.lower(), []).append(value)
    return found


def _fields(octets: bytes) -> Iterator[tuple[str, str]]:
    plain = _PLAIN_HEAD.match(octets)
    if plain is None:  # the lenient policy: fields may be broken
        head = BytesHeaderParser().parsebytes(octets)
        yield from ((name, str(value)) for name, value in head.items())
        return
    for line in plain[0].decode().split("\r\n")[:-2]:
        name, _, value = line.partition(": ")
        yield name, value


def _addresses(field: str) -> list[str]:
    if _PLAIN_ADDRESS.fullmatch(field):
        return [field]
    return [address for _, address in getaddresses([field]) if address]

"""The record of a platform on disk, by which other commands and tests find it."""

import os
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from mercato.embedded.errors import NotRunning, PlatformError

DEFAULT_DATA_DIR = Path(".mercato")
FILE = "platform.json"

Phase = Literal["waiting", "starting", "ready", "restarting", "stopping", "stopped"]


class ProcessId(msgspec.Struct, frozen=True):
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process with this number now, None if there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def find(self) -> psutil.Process | None:
        """The process itself while it lives (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            return process if alive and process.create_time() == self.created else None
        except psutil.Error:
            return None


class PartState(msgspec.Struct):
    """One server or service: what it does, where it listens, and where it logs."""

    phase: Phase
    ports: dict[str, int]
    log: str
    process: ProcessId | None = None
    restarts: int = 0


class PlatformState(msgspec.Struct):
    """A whole platform. `environment` is what a program needs to talk to it (with its secret),
    `external` the variables that name servers of yours, `ports` those allotted, used or not,
    `secure` whether it was started in secure mode, in which it starts the next time.
    """

    supervisor: ProcessId | None
    ready: bool
    urls: dict[str, str]
    environment: dict[str, str]
    logins: dict[str, str]
    external: list[str]
    ports: dict[str, int]
    parts: dict[str, PartState]
    secure: bool = False

    @property
    def alive(self) -> bool:
        """Whether its supervisor still runs; false for what a SIGKILL left behind."""
        return self.supervisor is not None and self.supervisor.find() is not None


def read(data_dir: Path) -> PlatformState | None:
    """The last state that was recorded there, of a living platform or not; None if none was.

    Raises PlatformError when this user may not know.
    """
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=PlatformState)
    except PermissionError as refusal:
        raise PlatformError(
            f"{refusal.filename} is not ours to read", "another --data-dir"
        ) from None
    except (OSError, msgspec.DecodeError):
        return None


def running(data_dir: Path) -> PlatformState:
    """The state of the platform that runs there; raises NotRunning."""
    state = read(data_dir)
    if state is None or not state.alive:
        raise NotRunning(
            f"no Mercato is running in {data_dir}", f"start it with: {up_in(data_dir)}"
        )
    return state


def up_in(data_dir: Path) -> str:
    """Returns the command that starts a platform there."""
    elsewhere = "" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {data_dir}"
    return f"mercato up{elsewhere}"


def write(data_dir: Path, state: PlatformState) -> None:
    """Replaces the record in one step; only this user may read it."""
    write_private(data_dir / FILE, msgspec.json.format(msgspec.json.encode(state)))


def write_private(path: Path, content: bytes) -> None:
    """Writes a file of mode 0600 that is seen whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)

"""Restarts parts of a running platform, so that what has copies is never away."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mercato.embedded import state
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.plan import SERVICES
from mercato.embedded.size import kind_of
from mercato.embedded.state import PlatformState, ProcessId

EXIT_S_MAX = 15.0
READY_S_MAX = 60.0
SETTLE_S = 2.0  # until those who call a part have found its new process: they dial once a second
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Restarted:
    """How long a part took to end after SIGTERM, and its successor to be ready after that."""

    name: str
    exit_s: float
    ready_s: float


def chosen(known: PlatformState, wanted: Sequence[str]) -> list[str]:
    """Returns the parts that are meant: themselves, all copies of a service, or every service.

    Raises UsageError for a name that is neither.
    """
    strange = [
        each for each in wanted if each not in known.parts and each not in map(kind_of, known.parts)
    ]
    if strange:
        raise UsageError(
            f"there is no part {', '.join(strange)}", f"there are: {', '.join(known.parts)}"
        )
    kinds = wanted or SERVICES
    return [name for name in known.parts if name in wanted or kind_of(name) in kinds]


async def restart(data_dir: Path, name: str) -> Restarted:
    """Ends a part by SIGTERM and waits for its successor; raises PlatformError when none comes."""
    before = state.running(data_dir).parts[name].process
    process = before.find() if before else None
    if before is None or process is None:
        raise PlatformError(f"{name} does not run", "see: mercato status")
    began = time.monotonic()
    process.terminate()
    while before.find() is not None:
        _in_time(began, EXIT_S_MAX, f"{name} (pid {before.pid}) does not stop")
        await asyncio.sleep(POLL_S)
    ended = time.monotonic()
    while not _succeeded(data_dir, name, before):
        _in_time(ended, READY_S_MAX, f"{name} does not come back")
        await asyncio.sleep(POLL_S)
    return Restarted(name, ended - began, time.monotonic() - ended)


def _succeeded(data_dir: Path, name: str, before: ProcessId) -> bool:
    part = state.running(data_dir).parts[name]
    return part.phase == "ready" and part.process != before


def _in_time(since: float, seconds_max: float, otherwise: str) -> None:
    if time.monotonic() - since > seconds_max:
        raise PlatformError(f"{otherwise} in {seconds_max:g} s", "see: mercato logs")

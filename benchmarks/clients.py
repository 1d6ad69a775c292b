"""The client processes of a benchmark: each puts its share of a load."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from benchmarks.figures import Histogram
from benchmarks.jobs import Job, Outcome
from benchmarks.running import ROOT

ANSWER_BYTES_MAX: Final = 1024 * 1024
PATIENCE_S: Final = 60.0  # beyond the job's own seconds


class LoadError(Exception):
    """The load could not be put as it should; what was measured says nothing."""


class Clients:
    """Get some from `open`; one job at a time."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    @classmethod
    @asynccontextmanager
    async def open(cls, count: int) -> AsyncIterator["Clients"]:
        """Starts `count` processes. They leave with us, however we go: their input ends."""
        processes: list[asyncio.subprocess.Process] = []
        try:
            for _ in range(count):
                processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "benchmarks.client", limit=ANSWER_BYTES_MAX,
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                        start_new_session=True, cwd=ROOT,
                    )
                )  # fmt: skip
            yield cls(processes)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    async def run(self, job: Job) -> tuple[Outcome, Histogram]:
        """Puts the load of `job`, shared out; raises LoadError when any of it was in vain."""
        count = min(len(self._processes), job.connections)
        shares = [
            msgspec.structs.replace(
                job,
                connections=job.connections // count + (n < job.connections % count),
                rate=job.rate / count,
                seed=job.seed * 1000 + n,
            )
            for n in range(count)
        ]
        outcomes = await asyncio.gather(*map(_put, self._processes, shares))
        taken, trouble = Histogram(), Outcome()
        for each in outcomes:
            taken.merge(Histogram(each.counts))
            trouble.elapsed_s = max(trouble.elapsed_s, each.elapsed_s)
            trouble.example = trouble.example or each.example
            for status, number in each.trouble.items():
                trouble.trouble[status] = trouble.trouble.get(status, 0) + number
        if not taken.total or sum(trouble.trouble.values()) > taken.total / 1000:
            raise LoadError(f"{job.kind}: {taken.total} well, {trouble.trouble}: {trouble.example}")
        return trouble, taken


async def _put(process: asyncio.subprocess.Process, job: Job) -> Outcome:
    if process.stdin is None or process.stdout is None:
        raise LoadError("a client process has no pipes")
    process.stdin.write(msgspec.json.encode(job) + b"\n")
    async with asyncio.timeout(job.seconds + PATIENCE_S):
        line = await process.stdout.readline()
    if not line:
        raise LoadError("a client process has ended")
    return msgspec.json.decode(line, type=Outcome)

"""How long `mercato up` takes until everything is ready, and what it then holds in memory."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.clients import LoadError
from benchmarks.figures import median, medians
from benchmarks.measuring import Found, Measured, Plan
from benchmarks.memory import MB, by_part
from mercato.embedded import state
from mercato.embedded.state import PlatformState
from mercato.platform.settings import whole_environment

READY_S_MAX: Final = 120.0
STOPPED_S_MAX: Final = 20.0
REST_S: Final = 5.0
POLL_S: Final = 0.02


async def measure(plan: Plan, found: Found) -> None:
    """Starts it on a new folder and once more on the same, as often as the plan says."""
    cold, again, memory = [], [], []
    for number in range(plan.runs):
        folder = plan.home / f"start-{number}"
        async with _up(folder) as (_, seconds):
            cold.append(seconds)
        async with _up(folder) as (known, seconds):
            again.append(seconds)
            await asyncio.sleep(REST_S)
            memory.append(_memory_mb(known))
        plan.tell(f"cold start {cold[-1]:.1f} s, again {again[-1]:.1f} s")
    total = [sum(each.values()) for each in memory]
    plan.tell(f"idle memory: {median(total):.0f} MB")
    found.keep(_measured("start", "cold start to ready, new folder", "s", cold))
    found.keep(_measured("start again", "start to ready, folder of a shop", "s", again))
    found.keep(
        Measured(
            name="memory", title="idle memory, everything (PSS)", unit="MB",
            value=median(total), runs=[round(each) for each in total], memory_mb=medians(memory),
        )
    )  # fmt: skip


def _measured(name: str, title: str, unit: str, values: list[float]) -> Measured:
    runs = [round(each, 2) for each in values]
    return Measured(name=name, title=title, unit=unit, value=median(values), runs=runs)


@asynccontextmanager
async def _up(folder: Path) -> AsyncIterator[tuple[PlatformState, float]]:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "mercato", "up", "--quiet", "--port", "0",
        "--data-dir", str(folder), stdout=asyncio.subprocess.DEVNULL, env=whole_environment(),
        start_new_session=True,
    )  # fmt: skip
    try:
        known = await _ready(process, folder)
        yield known, time.monotonic() - began
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOPPED_S_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(process: asyncio.subprocess.Process, folder: Path) -> PlatformState:
    until = time.monotonic() + READY_S_MAX
    while time.monotonic() < until and process.returncode is None:
        known = state.read(folder)
        if known and known.ready and known.supervisor and known.supervisor.pid == process.pid:
            return known
        await asyncio.sleep(POLL_S)
    raise LoadError("`mercato up` did not get ready")


def _memory_mb(known: PlatformState) -> dict[str, float]:
    mb = by_part(known.parts)
    if known.supervisor:  # whose children are the parts
        mb["supervisor"] = psutil.Process(known.supervisor.pid).memory_full_info().pss / MB
    return mb

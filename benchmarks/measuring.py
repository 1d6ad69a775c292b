"""Measuring a workload: several runs of the same load, and the median of what they came to."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec
import psutil
from pymongo.errors import PyMongoError

from benchmarks.clients import Clients, LoadError
from benchmarks.figures import median, medians
from benchmarks.jobs import Job
from benchmarks.shop import Shop, cpu_s
from mercato.embedded.errors import PlatformError
from mercato.platform.rpc.refusals import Refused
from mercato.storm.wire import NoAnswer

WARM_UP_SHARE = 0.2
WARM_UP_S_MIN = 1.0
TROUBLE_MAX: Final = 300
FAILURES: Final = (
    LoadError, NoAnswer, PlatformError, Refused, PyMongoError, psutil.Error, TimeoutError,
)  # fmt: skip


class Measured(msgspec.Struct, kw_only=True):
    """A figure and what stands behind it: medians of `runs`.

    `cpu_us` is processor time a unit by process, that of `clients` among them; `after_s` is how
    long after the last order everything of a kind had come to its end.
    """

    name: str
    title: str
    unit: str
    value: float
    runs: list[float]
    connections: int = 0
    rate: float = 0.0  # asked for, of an open loop
    latency_ms: dict[str, float] = {}
    cpu_us: dict[str, float] = {}
    after_s: dict[str, float] = {}
    memory_mb: dict[str, float] = {}  # by process
    requests: int = 0  # that went well, of all runs
    size: int = 0  # of a catalogue or a history
    samples: list[tuple[float, dict[str, float]]] = []  # orders so far, memory in MB by process
    verdict: str = ""

    @property
    def platform_us(self) -> float:
        """What the platform and its servers spend on a unit."""
        return sum(us for name, us in self.cpu_us.items() if name != "clients")


@dataclass(frozen=True)
class Plan:
    """How long and how often; `tell` hears of the progress."""

    seconds: float
    runs: int
    products: int
    histories: tuple[int, ...]
    sweep: tuple[int, ...]
    only: frozenset[str]
    home: Path
    tell: Callable[[str], None]
    rates: tuple[float, ...] = ()
    grown: int = 0  # products and orders, at the last step of growth
    orders: int = 0  # while memory is watched

    def wants(self, *names: str) -> bool:
        return not self.only or not self.only.isdisjoint(names)


@dataclass(frozen=True)
class Workload:
    """A load with a name. `places` says that orders come of it, which have to settle."""

    name: str
    title: str
    kind: str
    choice: str = "uniform"
    connections: int = 64
    rate: float = 0.0
    regular: str = ""
    longer: float = 1.0  # than other workloads
    places: bool = False
    size: int = 0


@dataclass(frozen=True)
class Found:
    """What was measured so far, and what could not be."""

    tell: Callable[[str], None]
    results: list[Measured] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def keep(self, measured: Measured) -> Measured:
        self.results.append(measured)
        return measured

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Notes a failure and goes on: what has been measured is worth reporting."""
        try:
            yield
        except FAILURES as failure:
            self.troubles.append(f"{what}: {failure!r}"[:TROUBLE_MAX])
            self.tell(f"NOT MEASURED: {self.troubles[-1]}")


@dataclass(frozen=True)
class Bench:
    """A shop under the load of its client processes."""

    shop: Shop
    clients: Clients
    plan: Plan
    found: Found

    async def measure(self, workload: Workload) -> None:
        """Warms up, runs the workload as often as the plan says, and keeps the medians."""
        runs: list[Measured] = []
        plan = self.plan
        with self.found.trying(workload.title):
            await self.warm_up(workload)
            for number in range(plan.runs):
                runs.append(await self.run(workload, number))
                plan.tell(f"{workload.title}: {_said(runs[-1])} ({number + 1}/{plan.runs})")
            self.found.keep(gathered(runs))

    async def run(self, workload: Workload, number: int) -> Measured:
        """Puts the load once; what it has left under way is waited for, and paid by it."""
        seconds = self.plan.seconds * workload.longer
        job = await self._job(workload, seconds, number + 1)
        before, clients_before = self.shop.spent_s(), self._clients_s()
        outcome, taken = await self.clients.run(job)
        clients_s = self._clients_s() - clients_before
        after_s = await self.shop.settled() if workload.places else {}
        spent = {name: s - before.get(name, 0.0) for name, s in self.shop.spent_s().items()}
        spent["clients"] = clients_s
        rate = taken.total / outcome.elapsed_s
        return Measured(
            name=workload.name, title=workload.title, unit="/s", value=rate, runs=[rate],
            connections=workload.connections, rate=workload.rate, size=workload.size,
            requests=taken.total,
            latency_ms=taken.percentiles_ms(), after_s=after_s,
            cpu_us={name: s / taken.total * 1e6 for name, s in spent.items()},
        )  # fmt: skip

    async def warm_up(self, workload: Workload) -> None:
        """Puts a gentler load for a moment, of which nothing is kept."""
        seconds = max(self.plan.seconds * WARM_UP_SHARE, WARM_UP_S_MIN)
        gentle = replace(workload, connections=min(workload.connections, 16), rate=0.0)
        await self.clients.run(await self._job(gentle, seconds, 0))
        if workload.places:
            await self.shop.settled()

    async def _job(self, workload: Workload, seconds: float, seed: int) -> Job:
        return Job(
            workload.kind, self.shop.port, await self.shop.stage(), workload.connections, seconds,
            workload.rate, workload.choice, workload.regular, seed, self.shop.authority,
        )  # fmt: skip

    def _clients_s(self) -> float:
        return sum(map(cpu_s, self.clients.pids))


@asynccontextmanager
async def bench(shop: Shop, plan: Plan, found: Found) -> AsyncIterator[Bench]:
    """As many client processes as there are processors, two at the most: theirs is the rest."""
    async with Clients.open(min(2, psutil.cpu_count() or 1)) as clients:
        yield Bench(shop, clients, plan, found)


def gathered(runs: list[Measured]) -> Measured:
    """Returns the medians of several runs of one workload."""
    first, values = runs[0], [each.value for each in runs]
    return msgspec.structs.replace(
        first,
        value=median(values),
        requests=sum(each.requests for each in runs),
        runs=[round(value, 2) for value in values],
        latency_ms=medians([each.latency_ms for each in runs]),
        cpu_us=medians([each.cpu_us for each in runs]),
        after_s=medians([each.after_s for each in runs]),
    )


def _said(measured: Measured) -> str:
    p99 = measured.latency_ms["p99"]
    return f"{measured.value:,.0f}/s, p99 {p99:.1f} ms, {measured.platform_us:.0f} us of processor"

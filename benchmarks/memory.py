"""What the processes of a platform hold in memory, and whether that grows with every order."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import psutil

from benchmarks.clients import LoadError
from benchmarks.figures import slope
from benchmarks.measuring import Bench, Found, Measured, Plan, Workload, bench
from benchmarks.shop import Shop
from mercato.embedded.state import PartState

MB: Final = 1_000_000
SAMPLES: Final = 50
PRODUCTS: Final = 1_000
RUN_S_MIN, RUN_S_MAX = 0.5, 10.0
# Below this the platform is broken, and waiting for it is in vain.
ORDERS_PER_S_MIN: Final = 50

PER: Final = 100_000  # orders
GROWN_SHARE_MAX: Final = 0.05
GROWN_MB_MAX: Final = 5.0
ORDERS_MIN: Final = 100_000  # before that the servers' bounded caches are still filling

Samples = Sequence[tuple[float, Mapping[str, float]]]


def by_part(parts: Mapping[str, PartState]) -> dict[str, float]:
    """Returns each part's proportional set size (PSS) in MB: what is shared is counted once."""
    mb: dict[str, float] = {}
    for name, part in parts.items():
        if part.process:
            process = psutil.Process(part.process.pid)
            family = (process, *process.children(recursive=True))
            mb[name] = sum(each.memory_full_info().pss for each in family) / MB
    return mb


async def measure(plan: Plan, found: Found) -> None:
    """Places orders on a shop of its own, and weighs every process whenever all has settled."""
    plan.tell(f"memory over {plan.orders:,} orders: start a platform")
    async with Shop.open(plan.home / "soak") as shop, bench(shop, plan, found) as on:
        await shop.stock(PRODUCTS)
        await shop.welcome()
        found.keep(_judged(await _samples(on)))


async def _samples(on: Bench) -> list[tuple[float, dict[str, float]]]:
    """Stops by itself: after all orders, or as soon as they take longer than they ever should."""
    wanted, placed, seconds = on.plan.orders, 0, RUN_S_MIN
    until = time.monotonic() + wanted / ORDERS_PER_S_MIN + 60
    workload = Workload("soak", "orders", "order", places=True)
    samples: list[tuple[float, dict[str, float]]] = []
    while placed < wanted:
        now = replace(on, plan=replace(on.plan, seconds=seconds))
        run = await now.run(workload, len(samples))
        placed += run.requests
        seconds = min(max(wanted / SAMPLES / run.value, RUN_S_MIN), RUN_S_MAX)
        samples.append((placed, by_part(on.shop.platform.parts())))
        on.plan.tell(f"{placed:,} orders: {sum(samples[-1][1].values()):,.0f} MB in all")
        if time.monotonic() > until:
            raise LoadError(f"memory: only {placed:,} orders in the time for {wanted:,}")
    return samples


def _judged(samples: Samples) -> Measured:
    grown = growth(samples)
    orders, last = samples[-1]
    return Measured(
        name="soak", title=f"memory: growth over {orders:,.0f} orders", unit="MB/100k",
        value=sum(grown.values()), runs=[], size=int(orders), memory_mb=dict(last),
        samples=[(x, {k: round(v, 2) for k, v in mb.items()}) for x, mb in samples],
        verdict=verdict(grown, last, orders),
    )  # fmt: skip


def growth(samples: Samples) -> dict[str, float]:
    """Returns by how many MB each process grows in 100,000 orders.

    The first half does not count: caches fill and allocators find their size.
    """
    later = samples[len(samples) // 2 :]
    return {
        name: PER * slope([(orders, mb.get(name, 0.0)) for orders, mb in later])
        for name in samples[-1][1]
    }


def verdict(grown: Mapping[str, float], last: Mapping[str, float], orders: float) -> str:
    """Says which processes grow by more than 5 MB and 5 % of themselves in 100,000 orders."""
    if orders < ORDERS_MIN:
        return f"too few orders to tell (from {ORDERS_MIN:,} on)"
    growing = [
        f"{name} +{mb:.0f} MB"
        for name, mb in grown.items()
        if mb > max(GROWN_MB_MAX, GROWN_SHARE_MAX * last[name])
    ]
    return f"not flat: {', '.join(growing)} in 100,000 orders" if growing else "flat"

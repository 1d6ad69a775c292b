"""Places orders as fast as they are taken: how many a second, how soon, and who pays for them.

    python -m benchmarks.orders --connections 64 --seconds 30

A closed loop: each connection has one order under way. The platform, its servers and the clients
share the machine, and everything stays on it.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measuring import Found, Measured, Plan, Workload, bench
from benchmarks.running import STOPPED, run
from benchmarks.shop import Shop

PRODUCTS: Final = 1000


def lines(measured: Measured) -> list[str]:
    """Returns the result for people; the processor time of an order includes its mail's."""
    latency = measured.latency_ms
    parts = sorted(measured.cpu_us.items(), key=lambda item: -item[1])
    return [
        f"{measured.requests} orders, {measured.value:.0f}/s",
        f"answered in {latency['p50']:.0f} ms (p50), {latency['p99']:.0f} ms (p99)",
        *(f"{name} {after_s:.1f} s after the last" for name, after_s in measured.after_s.items()),
        f"processor time an order, mails included: {measured.platform_us:.0f} us",
        *(f"  {name:<10}{us:>7.0f} us" for name, us in parts),
    ]


async def measure(given: argparse.Namespace, home: Path) -> Found:
    """Measures once, on a data directory of its own."""
    found = Found(lambda what: print(what, file=sys.stderr, flush=True))  # noqa: T201
    plan = Plan(
        seconds=given.seconds, runs=1, products=1 if given.hot else PRODUCTS, histories=(),
        sweep=(), only=frozenset(), home=home, tell=found.tell,
    )  # fmt: skip
    workload = Workload(
        "order", "order placed", "order", connections=given.connections, places=True
    )
    async with Shop.open(home, secure=given.secure) as shop, bench(shop, plan, found) as on:
        await shop.stock(plan.products)
        await shop.welcome()
        await on.measure(workload)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.orders", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--hot", action="store_true", help="all orders are for one product")
    parser.add_argument("--secure", action="store_true", help="in secure mode, to see its cost")
    parser.add_argument("--json", action="store_true", help="tell the result as JSON")
    return parser.parse_args()


def main() -> int:
    """Returns 0, or 1 when it could not be measured, 130 after Ctrl-C."""
    given = _arguments()
    found = run(lambda home: measure(given, home))
    if found is None:
        return STOPPED
    for each in found.results:
        said = msgspec.json.encode(each).decode() if given.json else "\n".join(lines(each))
        print(said)  # noqa: T201
    return 1 if found.troubles else 0


if __name__ == "__main__":
    sys.exit(main())

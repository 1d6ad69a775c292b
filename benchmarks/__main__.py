"""Measures the platform on this machine and writes benchmarks/report/.

    python -m benchmarks [--quick] [--compare] [--only products,orders] [--markdown]

Everything runs on loopback and in a folder of its own that is gone afterwards, on Ctrl-C too.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from benchmarks import copies, growth, limits, memory, report, starting, workloads
from benchmarks.measuring import Found, Plan, bench
from benchmarks.running import REPORTS, STOPPED, run
from benchmarks.shop import Shop

# Groups with a platform of their own, and those that share one.
OWN: Final = {
    "start": starting.measure, "growth": growth.measure, "soak": memory.measure,
    "copies": copies.measure,
}  # fmt: skip
SHARED: Final = (*workloads.GROUPS, *workloads.OTHERS)
FULL_S, FULL_RUNS, FULL_PRODUCTS, FULL_GROWN, FULL_ORDERS = 30.0, 3, 100_000, 1_000_000, 200_000
QUICK_S, QUICK_RUNS, QUICK_PRODUCTS, QUICK_GROWN, QUICK_ORDERS = 3.0, 1, 10_000, 10_000, 3_000
HISTORIES: Final = (10, 100, 1_000, 10_000)
SWEEP: Final = (1, 4, 16, 64, 256)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options in `words`, by default those of the command; exits on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="1 run of 3 s, 10,000 products")
    known = (*OWN, *SHARED)
    parser.add_argument("--only", default="", metavar="GROUP,...", help=", ".join(known))
    parser.add_argument(
        "--compare", action="store_true", help="only: against one transaction per order, in turns"
    )
    parser.add_argument("--seconds", type=float, help=f"of a run, by default {FULL_S:g}")
    parser.add_argument("--runs", type=int, help=f"of each workload, by default {FULL_RUNS}")
    parser.add_argument("--products", type=int, help=f"by default {FULL_PRODUCTS:,}")
    parser.add_argument("--grown", type=int, help=f"last step of growth, {FULL_GROWN:,}")
    parser.add_argument("--orders", type=int, help=f"of the soak, by default {FULL_ORDERS:,}")
    parser.add_argument("--rate", type=float, action="append", help="of orders in an open loop")
    parser.add_argument("--markdown", action="store_true", help="show the table for the docs")
    given = parser.parse_args(words)
    unknown = {name for name in given.only.split(",") if name} - set(known)
    if unknown:
        parser.error(f"--only knows no {', '.join(sorted(unknown))}; but {', '.join(known)}")
    for name in ("seconds", "runs", "products", "grown", "orders"):
        if (value := getattr(given, name)) is not None and value <= 0:
            parser.error(f"--{name} must be more than 0")
    if (given.grown or FULL_GROWN) < growth.TEMPLATES:
        parser.error(f"--grown begins with {growth.TEMPLATES:,}")
    return given


def _plan(given: argparse.Namespace) -> Plan:
    began = time.monotonic()

    def tell(what: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"{minutes:3}:{seconds:02}  {what}", file=sys.stderr, flush=True)  # noqa: T201

    only = frozenset(name for name in given.only.split(",") if name)
    only |= {"compare"} if given.compare else set()
    quick = given.quick
    return Plan(
        seconds=given.seconds or (QUICK_S if quick else FULL_S),
        runs=given.runs or (QUICK_RUNS if quick else FULL_RUNS),
        products=given.products or (QUICK_PRODUCTS if quick else FULL_PRODUCTS),
        histories=HISTORIES, sweep=SWEEP, only=only, home=REPORTS, tell=tell,
        rates=tuple(given.rate or ()),
        grown=given.grown or (QUICK_GROWN if quick else FULL_GROWN),
        orders=given.orders or (QUICK_ORDERS if quick else FULL_ORDERS),
    )  # fmt: skip


async def measure(plan: Plan) -> Found:
    """Returns what was measured, and what could not be."""
    found = Found(plan.tell)
    for name, group in OWN.items():
        if plan.wants(name):
            with found.trying(name):
                await group(plan, found)
    if plan.wants(*SHARED):
        with found.trying("platform"):
            await _shared(plan, found)
    return found


async def _shared(plan: Plan, found: Found) -> None:
    plan.tell("start a platform")
    async with Shop.open(plan.home / "shop") as shop, bench(shop, plan, found) as on:
        with found.trying("workloads"):
            await workloads.measure(on)
        for name, step in (("limits", limits.measure), ("compare", workloads.compare)):
            if plan.wants(name):
                with found.trying(name):
                    await step(on)


def main() -> int:
    """Returns 0, or 1 when something could not be measured, 130 after Ctrl-C."""
    given = arguments()
    began = datetime.now(UTC)
    plan = _plan(given)
    found = run(lambda home: measure(replace(plan, home=home)))
    if found is None:
        return STOPPED
    whole = report.of(began, plan.seconds, plan.runs, found.results, found.troubles)
    report.write(whole, REPORTS)
    shown = report.markdown(whole) if given.markdown else report.table(whole)
    print(f"{shown}\nmore: {REPORTS}")  # noqa: T201
    return 1 if found.troubles else 0


if __name__ == "__main__":
    sys.exit(main())

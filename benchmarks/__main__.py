"""Measures the platform on this machine and writes benchmarks/report/.

    python -m benchmarks [--quick] [--compare] [--only products,orders] [--markdown]

Everything runs on loopback and in a folder of its own that is gone afterwards, on Ctrl-C too.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pymongo.errors import PyMongoError

from benchmarks import limits, report, starting, workloads
from benchmarks.clients import ROOT, LoadError
from benchmarks.measuring import Bench, Measured, Plan, bench
from benchmarks.shop import Shop
from mercato.embedded.errors import PlatformError
from mercato.storm.wire import NoAnswer

FOLDER: Final = ROOT / "benchmarks" / "report"
GROUPS: Final = (*workloads.GROUPS, *workloads.OTHERS)
FULL_S, FULL_RUNS, FULL_PRODUCTS = 30.0, 3, 100_000
QUICK_S, QUICK_RUNS, QUICK_PRODUCTS = 3.0, 1, 10_000
HISTORIES: Final = (10, 100, 1_000, 10_000)
SWEEP: Final = (1, 4, 16, 64, 256)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="1 run of 3 s, 10,000 products")
    parser.add_argument("--only", default="", metavar="GROUP,...", help=", ".join(GROUPS))
    parser.add_argument(
        "--compare", action="store_true", help="only: against one transaction per order, in turns"
    )
    parser.add_argument("--seconds", type=float, help=f"of a run, by default {FULL_S:g}")
    parser.add_argument("--runs", type=int, help=f"of each workload, by default {FULL_RUNS}")
    parser.add_argument("--products", type=int, help=f"by default {FULL_PRODUCTS:,}")
    parser.add_argument("--rate", type=float, action="append", help="of orders in an open loop")
    parser.add_argument("--markdown", action="store_true", help="show the table for the docs")
    given = parser.parse_args()
    unknown = {name for name in given.only.split(",") if name} - set(GROUPS)
    if unknown:
        parser.error(f"--only knows no {', '.join(sorted(unknown))}; but {', '.join(GROUPS)}")
    for name in ("seconds", "runs", "products"):
        if (value := getattr(given, name)) is not None and value <= 0:
            parser.error(f"--{name} must be more than 0")
    return given


def _plan(given: argparse.Namespace, home: Path) -> Plan:
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
        histories=HISTORIES, sweep=SWEEP, only=only, home=home, tell=tell,
        rates=tuple(given.rate or ()),
    )  # fmt: skip


async def measure(plan: Plan) -> tuple[list[Measured], list[str]]:
    """Returns what was measured, and what could not be."""
    started = await starting.measure(plan) if plan.wants("start") else []
    if plan.only == {"start"}:
        return started, []
    plan.tell("start a platform")
    async with Shop.open(plan.home / "shop") as shop, bench(shop, plan) as on:
        on.results.extend(started)
        await _each(on)
        return on.results, on.troubles


async def _each(on: Bench) -> None:
    """Goes on after a failure: what has been measured is worth reporting."""
    wanted = [("limits", limits.measure), ("compare", workloads.compare)]
    steps = [("workloads", workloads.measure), *(s for s in wanted if on.plan.wants(s[0]))]
    for name, step in steps:
        try:
            await step(on)
        except (LoadError, NoAnswer, PlatformError, PyMongoError, TimeoutError) as failure:
            on.troubles.append(f"{name}: {failure!r}")
            on.plan.tell(f"NOT MEASURED: {on.troubles[-1]}")


def main() -> int:
    """Returns 0, or 1 when something could not be measured, 130 after Ctrl-C."""
    given = _arguments()
    FOLDER.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began = datetime.now(UTC)
    # beside the report and not in /tmp, which is often memory: what is measured writes to a disk
    with tempfile.TemporaryDirectory(prefix="bench-", dir=FOLDER) as home:
        plan = _plan(given, Path(home))
        try:
            results, troubles = asyncio.run(measure(plan))
        except KeyboardInterrupt:
            plan.tell("stopped; nothing is written, nothing is left")
            return 130
    whole = report.of(began, plan.seconds, plan.runs, results, troubles)
    report.write(whole, FOLDER)
    shown = report.markdown(whole) if given.markdown else report.table(whole)
    print(f"{shown}\nmore: {FOLDER}")  # noqa: T201
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())

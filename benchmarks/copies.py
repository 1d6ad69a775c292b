"""What a second copy of a service is worth: the same load with one and with two, in turns."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle, islice
from typing import Any, Final

import grpc
import msgspec
import psutil

from benchmarks.limits import rate_of
from benchmarks.measuring import Bench, Found, Measured, Plan, Workload, bench, gathered
from benchmarks.shop import Shop
from mercato.embedded.rolling import SETTLE_S
from mercato.embedded.size import Size, kind_of
from mercato.pb import inventory_pb2

SERVICE: Final = "inventory"
SECOND: Final = f"{SERVICE}-2"
METHOD: Final = "/inventory.InventoryService/BatchGetProducts"
PRODUCTS: Final = 1_000
AT_A_TIME: Final = 100
CALLS_AT_ONCE: Final = 16
RUN_S_MAX: Final = 10.0
COPIES: Final = {1: "one copy", 2: "two copies"}

Run = Callable[[int], Awaitable[Measured]]


async def measure(plan: Plan, found: Found) -> None:
    """Asks inventory at its own door, where nothing else is the limit, and by the gateways."""
    plan.tell("copies: start a platform with two copies of each service")
    brief = replace(plan, seconds=min(plan.seconds, RUN_S_MAX))
    async with (
        Shop.open(plan.home / "copies", size=Size(members=1, copies=2)) as shop,
        bench(shop, brief, found) as on,
        shop.channels.open(shop.platform.environment["INVENTORY_SERVICE"], SERVICE) as channel,
    ):
        await shop.stock(PRODUCTS)
        await shop.welcome()
        lists = Workload("copies list", "product list of 20", "list")
        kinds: dict[str, Run] = {
            "direct": lambda _: _direct(on, channel),
            "list": lambda number: on.run(lists, number),
        }
        for measured in ratios(await _in_turns(on, kinds)):
            found.keep(measured)


async def _in_turns(on: Bench, kinds: dict[str, Run]) -> dict[tuple[str, int], list[Measured]]:
    runs: dict[tuple[str, int], list[Measured]] = {}
    for number in range(on.plan.runs):
        for count, said in COPIES.items():
            await _have(on.shop, count)
            for kind, run in kinds.items():
                measured = await run(number)
                runs.setdefault((kind, count), []).append(measured)
                on.plan.tell(f"{measured.title}, {said}: {measured.value:,.0f}/s")
    return runs


async def _have(shop: Shop, count: int) -> None:
    """Stops or starts the second copy, and waits until those who call it have noticed."""
    runs = shop.platform.parts()[SECOND].process is not None
    if runs and count == 1:
        await shop.platform.stop(SECOND)
    elif not runs and count > 1:
        await shop.platform.start(SECOND)
    await asyncio.sleep(SETTLE_S)


async def _direct(on: Bench, channel: grpc.aio.Channel) -> Measured:
    """Reads products in batches, as gateways and orders do; nobody looks into the answers."""
    shop, ids = on.shop, cycle(on.shop.products)
    method: Any = channel.unary_unary(
        METHOD, inventory_pb2.BatchGetProductsRequest.SerializeToString
    )

    async def once() -> int:
        wanted = inventory_pb2.BatchGetProductsRequest(ids=islice(ids, AT_A_TIME))
        await shop.channels.call(method, wanted)
        return 1

    await once()
    before, own = shop.spent_s(), time.process_time()
    rate = await rate_of(once, CALLS_AT_ONCE, on.plan.seconds)
    spent = {name: s - before.get(name, 0.0) for name, s in shop.spent_s().items()}
    spent["clients"] = time.process_time() - own
    calls = rate * on.plan.seconds
    return Measured(
        name="copies direct", title="100 products a call, at the service's own door", unit="/s",
        value=rate, runs=[rate], connections=CALLS_AT_ONCE,
        cpu_us={name: s / calls * 1e6 for name, s in spent.items()},
    )  # fmt: skip


def ratios(runs: Mapping[tuple[str, int], list[Measured]]) -> Iterator[Measured]:
    """Yields the medians of each kind of load, and what the second copy has made of them."""
    for kind in dict.fromkeys(kind for kind, _ in runs):
        one, two = (gathered(runs[kind, count]) for count in COPIES)
        for measured, said in zip((one, two), COPIES.values(), strict=True):
            title = f"{measured.title}, {said} of {SERVICE}"
            yield msgspec.structs.replace(measured, title=title, verdict=busy(measured))
        turns = zip(runs[kind, 1], runs[kind, 2], strict=True)
        yield Measured(
            name=f"copies ratio {kind}", title=f"{one.title}: two copies to one", unit="x",
            value=two.value / one.value, runs=[round(b.value / a.value, 2) for a, b in turns],
        )  # fmt: skip


def busy(measured: Measured) -> str:
    """Says how much of the machine was at work, and how much of one processor in the service."""
    cores = psutil.cpu_count() or 1
    all_of_it = sum(measured.cpu_us.values()) * measured.value / 1e6 / cores
    copies = [us for name, us in measured.cpu_us.items() if kind_of(name) == SERVICE]
    service = sum(copies) * measured.value / 1e6
    return f"{SERVICE} {service:.0%} of a processor; {all_of_it:.0%} of all {cores} at work for it"

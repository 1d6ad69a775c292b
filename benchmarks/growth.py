"""What an operation costs while products and orders grow from a thousand to a million of each."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from bson import ObjectId

from benchmarks import copying
from benchmarks.copying import Family
from benchmarks.measuring import Bench, Found, Plan, Workload, bench
from benchmarks.shop import Shop, product_names
from benchmarks.workloads import SIZES, steps

TEMPLATES: Final = SIZES[0]
RUN_S_MAX: Final = 4.0
PAUSE_S: Final = 3.0  # after filling, for the servers to get over it

WORKLOADS: Final = (
    Workload("growth product", "product by id", "product"),
    Workload("growth list", "product list of 20", "list"),
    Workload("growth search", "text search", "search"),
    Workload("growth order_read", "order read by its owner", "order_read"),
    Workload("growth order_list", "order list of 20", "order_list"),
    Workload("growth order", "order placed", "order", places=True),  # it comes last: see `_step`
)


async def measure(plan: Plan, found: Found) -> None:
    """Fills a shop of its own in steps, and measures every operation at each.

    The audit is stopped meanwhile: what it spends, at its own pace, is no request's.
    """
    plan.tell("growth: start a platform")
    brief = replace(plan, seconds=min(plan.seconds, RUN_S_MAX))
    async with Shop.open(plan.home / "growth") as shop, bench(shop, brief, found) as on:
        await shop.platform.stop("audit")
        await shop.stock(TEMPLATES)
        await shop.welcome()
        templates = await _templates(on)
        for size in steps(plan.grown):
            plan.tell(f"growth: fill up to {size:,} products and orders")
            await _fill(on, templates, size)
            await _step(on, size)


@dataclass(frozen=True)
class _Templates:
    products: list[Family]
    placed: list[Any]
    orders: list[Family]


async def _templates(on: Bench) -> _Templates:
    """Returns what is copied: products as the import has made them, orders as they were placed."""
    store = on.shop.store
    ids = {str(each["sku"]): each["_id"] for each in await store["products"].find().to_list()}
    names = {ids[product_names(n)[0]]: n for n in range(TEMPLATES)}
    products = await copying.families(
        store, copying.OF_PRODUCTS, {id_: _product(id_, n) for id_, n in names.items()}
    )
    placed = await on.shop.place(on.clients, TEMPLATES)
    await copying.forget_since(store, placed[-1]["_id"])
    return _Templates(products, placed, await copying.order_families(store, placed))


async def _fill(on: Bench, templates: _Templates, size: int) -> None:
    """Adds copies until there are `size` of each; the last orders come after all products."""
    shop, first = on.shop, len(on.shop.products)
    new = [ObjectId() for _ in range(size - first)]
    numbered = (_product(id_, first + n) for n, id_ in enumerate(new))
    await copying.fill(shop.store, templates.products, numbered, on.plan.tell)
    shop.products += map(str, new)
    count = size - len(shop.orders)
    orders = [ObjectId() for _ in range(count)]
    names: Iterable[list[bytes]] = map(copying.order_names, orders)
    await copying.fill(shop.store, templates.orders, names, on.plan.tell)
    await copying.take(shop.store, templates.placed, count)
    owners = [str(each["user_id"]) for each in templates.placed]
    shop.orders += [(str(id_), owners[n % len(owners)]) for n, id_ in enumerate(orders)]
    await asyncio.sleep(PAUSE_S)


async def _step(on: Bench, size: int) -> None:
    """The orders that come of it are taken away again, so that each step has its own size."""
    for workload in WORKLOADS:
        title = f"{workload.title}, of {size:,}"
        await on.measure(replace(workload, title=title, size=size))
    await copying.forget_since(on.shop.store, ObjectId(max(id_ for id_, _ in on.shop.orders)))


def _product(product_id: ObjectId, n: int) -> list[bytes]:
    return [*copying.id_names(product_id), *(name.encode() for name in product_names(n))]

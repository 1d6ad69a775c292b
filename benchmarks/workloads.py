"""What is measured on one shop, group by group (`--only` names groups)."""

from typing import Final

from benchmarks.measuring import Bench, Measured, Workload, bench, gathered
from benchmarks.shop import Shop

PRODUCTS: Final = (
    Workload("product hot", "product by id, hot set of 100", "product", "hot"),
    Workload("product uniform", "product by id, uniform", "product"),
)
LISTS: Final = (Workload("list", "product list of 20", "list"),)
ORDERS: Final = (
    Workload("order", "order placed, uniform", "order", longer=2.0, places=True),
    Workload("order zipf", "order placed, Zipf", "order", "zipf", places=True),
    Workload("order one", "order placed, one hot SKU", "order", "one", places=True),
)
RESERVED: Final = (
    Workload("reserved", "order placed until its stock is RESERVED", "reserved", places=True),
)
READS: Final = (Workload("order read", "order read by its owner", "order_read"),)
LOGINS: Final = (Workload("login", "login", "login", connections=8),)
MIXED: Final = (Workload("mixed", "mixed, 90 % reads", "mixed", places=True),)

GROUPS: Final[dict[str, tuple[Workload, ...]]] = {
    "products": PRODUCTS, "lists": LISTS, "reads": READS, "login": LOGINS, "orders": ORDERS,
    "reserved": RESERVED, "mixed": MIXED,
}  # fmt: skip
# Groups on the same shop, with a programme of their own.
OTHERS: Final = ("import", "history", "sweep", "open", "limits", "compare")
SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
OPEN_SHARES: Final = (0.25, 0.5, 0.75)  # of what the closed loop came to
# One transaction for each order, one hop for each call, and nothing spent on limits.
ALONE: Final = {"GROUP_MAX": "1", "RATE_LIMITS": "off"}


async def measure(on: Bench) -> None:
    """Runs every group that the plan wants, one after the other."""
    await _stock(on)
    await on.shop.welcome()
    if on.plan.wants("reads", "mixed", "history"):
        on.plan.tell("place the orders of the past")
        await on.shop.remember(on.clients, on.plan.histories)
    for group, workloads in GROUPS.items():
        for workload in workloads if on.plan.wants(group) else ():
            await on.measure(workload)
    if on.plan.wants("history"):
        await _histories(on)
    if on.plan.wants("open"):
        await _open_loop(on)
    if on.plan.wants("sweep"):
        await _sweep(on)


async def _stock(on: Bench) -> None:
    """Fills the catalogue in steps, since an import may depend on what is there."""
    for size in steps(on.plan.products):
        on.plan.tell(f"import until there are {size:,} products")
        count, seconds = await on.shop.stock(size)
        rate = count / seconds
        if on.plan.wants("import"):
            on.found.keep(
                Measured(
                    name="import", title=f"import, until there are {size:,}", unit="products/s",
                    value=rate, runs=[rate], size=size,
                )
            )  # fmt: skip


def steps(last: int) -> list[int]:
    """Returns 1,000, 10,000 and so on, ending with `last`."""
    return [*(size for size in SIZES if size < last), last]


async def _histories(on: Bench) -> None:
    for count in on.plan.histories:
        title = f"order list of a user with {count:,} orders"
        await on.measure(
            Workload("history", title, "order_list", regular=str(count), size=count, longer=1 / 3)
        )  # fmt: skip


async def _open_loop(on: Bench) -> None:
    """Orders at given rates, by default at shares of what the closed loop came to."""
    known = [each.value for each in on.found.results if each.name == "order"]
    best = known[0] if known else (await on.run(ORDERS[0], 0)).value
    for rate in on.plan.rates or [round(best * share, -1) for share in OPEN_SHARES]:
        title = f"orders arriving at {rate:,.0f}/s"
        await on.measure(
            Workload("open", title, "order", connections=256, rate=max(rate, 1.0), places=True)
        )  # fmt: skip


async def _sweep(on: Bench) -> None:
    for base in (PRODUCTS[0], ORDERS[0]):
        for connections in on.plan.sweep:
            title = f"{base.title}, {connections} connections"
            await on.measure(
                Workload(
                    f"sweep {base.kind}", title, base.kind, base.choice, connections,
                    longer=1 / 3, places=base.places,
                )
            )  # fmt: skip


async def compare(on: Bench) -> None:
    """Takes turns with a platform in which nothing is folded, under the same orders."""
    plan = on.plan
    plan.tell("start a second platform: one transaction per order")
    async with (
        Shop.open(plan.home / "alone", ALONE) as shop, bench(shop, plan, on.found) as other,
    ):  # fmt: skip
        await shop.stock(plan.products)
        await shop.welcome()
        turns = (
            (on, Workload("grouped", "order placed, grouped", "order", places=True)),
            (other, Workload("alone", "order placed, one transaction each", "order", places=True)),
        )
        runs: dict[str, list[Measured]] = {workload.name: [] for _, workload in turns}
        for where, workload in turns:
            await where.warm_up(workload)
        for number in range(plan.runs):
            for where, workload in turns:
                runs[workload.name].append(await where.run(workload, number))
                plan.tell(f"{workload.title}: {runs[workload.name][-1].value:,.0f}/s")
    grouped, alone = (on.found.keep(gathered(each)) for each in runs.values())
    ratios = [a.value / b.value for a, b in zip(*runs.values(), strict=True)]
    on.found.keep(
        Measured(
            name="ratio", title="ratio to one transaction per order", unit="x",
            value=grouped.value / alone.value, runs=[round(each, 2) for each in ratios],
        )
    )  # fmt: skip

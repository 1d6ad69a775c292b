"""Places orders as fast as they are taken: how many a second, how soon, and who pays for them.

    python -m benchmarks.orders --connections 64 --seconds 30

A closed loop: each connection has one order under way. The platform, its servers and the clients
share the machine, and everything stays on it.
"""

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import choice
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from mercato.embedded import keys
from mercato.embedded.secure.mode import trusting
from mercato.embedded.settings import WIDE_LIMITS
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.platform.mongo import Store
from mercato.platform.settings import Settings, load
from mercato.platform.tokens import Tokens
from mercato.storm.wire import Wire

PRODUCTS: Final = 1000
CUSTOMERS: Final = 64
WARM_UP_S: Final = 3.0
SETTLED_S_MAX: Final = 300.0
STOCK: Final = 10_000_000
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of accounts that live for a minute

# What has to come to its end after the last order: (collection, what is still on its way).
ENDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "stock decided": ("orders", {"stock": "AWAITING"}),
    "mails handed over": ("order_outbox", {"kind": "mail", "not_before": {"$exists": True}}),
    "mails sent": ("mails", {"state": {"$ne": "SENT"}}),
}


@dataclass(frozen=True)
class Result:
    """Latencies in ms; `cpu_us` is processor time an order by process, mails included.

    `after_s` is how long after the last order everything of a kind had come to its end.
    """

    orders: int
    per_second: float
    p50_ms: float
    p99_ms: float
    after_s: dict[str, float]
    cpu_us: dict[str, float]

    def lines(self) -> list[str]:
        ours = sum(us for name, us in self.cpu_us.items() if name != "clients")
        parts = sorted(self.cpu_us.items(), key=lambda item: -item[1])
        return [
            f"{self.orders} orders, {self.per_second:.0f}/s",
            f"answered in {self.p50_ms:.0f} ms (p50), {self.p99_ms:.0f} ms (p99)",
            *(f"{name} {after_s:.1f} s after the last" for name, after_s in self.after_s.items()),
            f"processor time an order, mails included: {ours:.0f} us",
            *(f"  {name:<10}{us:>7.0f} us" for name, us in parts),
        ]


class Bench:
    """A shop with a catalogue and customers, and its public door."""

    def __init__(self, platform: Platform, store: Store) -> None:
        self._platform = platform
        self._store = store
        self._port = urlsplit(platform.urls["gateway"]).port or 80
        self._tls = trusting(platform.data_dir, platform.urls["gateway"])
        private, _ = keys.files(platform.data_dir)
        settings = load(Settings, platform.environment)
        self._tokens = Tokens.of(settings, keys_file=str(private))
        self._products: list[str] = []
        self._customers: list[str] = []

    async def prepare(self, products: int) -> None:
        admin = self._tokens.access(new_id(), "admin")
        thing = {"name": "Thing", "category": "things", "price": "9.99", "stock": STOCK}
        wire = Wire(self._port, self._tls)
        for _ in range(products):
            made = await wire.call("POST", "/api/inventory", token=admin, body=thing)
            self._products.append(made.json()["id"])
        for number in range(CUSTOMERS):
            who = {"email": f"customer-{number}@shop.example", "password": PASSWORD}
            made = await wire.call("POST", "/api/users/register", body=who)
            self._customers.append(made.json()["id"])
        wire.close()

    async def measure(self, connections: int, seconds: float) -> Result:
        await self._load(min(connections, 8), WARM_UP_S)
        await self._settled()
        before, began = self._spent_s(), time.monotonic()
        taken = sorted(await self._load(connections, seconds))
        elapsed_s = time.monotonic() - began
        after_s = await self._settled()
        spent = {name: s - before[name] for name, s in self._spent_s().items()}
        count = len(taken)
        return Result(
            count, count / elapsed_s, taken[count // 2] * 1e3, taken[int(count * 0.99)] * 1e3,
            after_s, {name: s / count * 1e6 for name, s in spent.items()},
        )  # fmt: skip

    async def _load(self, connections: int, seconds: float) -> list[float]:
        until = time.monotonic() + seconds
        taken = await asyncio.gather(*(self._buy(until) for _ in range(connections)))
        return [each for some in taken for each in some]

    async def _buy(self, until: float) -> list[float]:
        wire, taken = Wire(self._port, self._tls), []
        token = self._tokens.access(choice(self._customers), "customer")  # noqa: S311
        while (began := time.monotonic()) < until:
            items = [{"product_id": choice(self._products), "quantity": 1}]  # noqa: S311
            answer = await wire.call("POST", "/api/orders", token=token, body={"items": items})
            if answer.status != 201:
                raise RuntimeError(f"an order was answered {answer.status}: {answer.body!r}")
            taken.append(time.monotonic() - began)
        wire.close()
        return taken

    async def _settled(self) -> dict[str, float]:
        """Waits until nothing is under way; returns after how many seconds each kind was done."""
        began, after_s = time.monotonic(), {}
        for name, (collection, waiting) in ENDS.items():
            while await self._store[collection].count_documents(waiting):
                if time.monotonic() > began + SETTLED_S_MAX:
                    raise TimeoutError(f"not all {name} within {SETTLED_S_MAX:.0f} s")
                await asyncio.sleep(0.1)
            after_s[name] = time.monotonic() - began
        return after_s

    def _spent_s(self) -> dict[str, float]:
        parts = self._platform.parts().items()
        pids = {name: part.process.pid for name, part in parts if part.process}
        pids["clients"] = psutil.Process().pid
        return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items()}


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


async def main() -> None:
    """Measures once, on a data directory of its own that is gone afterwards."""
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="mercato-bench-") as home:
        async with (
            Platform.open(
                Path(home) / "shop", rewire=lambda _: WIDE_LIMITS, secure=given.secure
            ) as platform,
            Store.open(platform.environment["MONGO_URI"], "ecommerce") as store,
        ):
            bench = Bench(platform, store)
            await bench.prepare(1 if given.hot else PRODUCTS)
            result = await bench.measure(given.connections, given.seconds)
    print(json.dumps(asdict(result)) if given.json else "\n".join(result.lines()))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())

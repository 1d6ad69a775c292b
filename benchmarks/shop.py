"""A shop to be measured: a platform on a folder of its own, a catalogue, customers, old orders."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import psutil
import pymongo
from bson import ObjectId

from benchmarks import copying
from benchmarks.clients import Clients, LoadError
from benchmarks.jobs import CATEGORIES, HOT_SET, SERIES, Job, Stage, series
from mercato.embedded import keys
from mercato.embedded.secure.authority import CA_FILE
from mercato.embedded.secure.mode import FOLDER, trusting
from mercato.embedded.settings import WIDE_LIMITS
from mercato.embedded.size import SINGLE, Size
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from mercato.platform.rpc import Channels
from mercato.platform.settings import Settings, load, whole_environment
from mercato.platform.tokens import Tokens
from mercato.storm.wire import Wire

CUSTOMERS: Final = 64
STOCK: Final = 10_000_000
SETTLED_S_MAX: Final = 1200.0
DATABASE_S: Final = 60.0
OLD_ORDERS_S: Final = 2.0
OLD_ORDERS_MAX: Final = 2_000
STAGED_MAX: Final = 100_000  # of products and of orders, drawn anew for each job
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of accounts that live for an hour

# What has to come to its end after the last order: (collection, what is still on its way). Each is
# found by an index of what is open, so that looking for it costs nothing whatever has piled up. A
# fact's row is closed in the transaction that stores its answer: the order's stock.
_OPEN: Final = {"not_before": {"$exists": True}}
ENDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "stock decided": ("order_outbox", {"kind": "nats", **_OPEN}),
    "mails handed over": ("order_outbox", {"kind": "mail", **_OPEN}),
    "mails sent": ("mails", {"state": {"$in": ["NEW", "DOT"]}, **_OPEN}),
}


class Shop:
    """Get one from `open`."""

    def __init__(self, platform: Platform, store: Store, home: Path) -> None:
        self.platform = platform
        self.store = store
        self.port = urlsplit(platform.urls["gateway"]).port or 80
        self.authority = str(platform.data_dir / FOLDER / CA_FILE) if platform.secure else ""
        self._home = home
        self._tls = trusting(platform.data_dir, platform.urls["gateway"])
        private, _ = keys.files(platform.data_dir)
        settings = load(Settings, platform.environment)
        self._tokens = Tokens.of(settings, keys_file=str(private))
        self.channels = Channels(self._tokens, "gateway")
        self._customers: list[tuple[str, str]] = []  # ids and addresses
        self._regulars: dict[str, str] = {}
        self._imported = 0
        self._stage = home / "stage.json"
        self._random = Random(7)  # noqa: S311
        self.products: list[str] = []
        self.orders: list[tuple[str, str]] = []  # ids, and whose they are

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        home: Path,
        environment: Mapping[str, str] | None = None,
        size: Size = SINGLE,
        secure: bool = False,
    ) -> AsyncIterator["Shop"]:
        """Starts a platform on the folder `home`; its services are told `environment` too."""
        told = {**WIDE_LIMITS, **(environment or {})}
        async with (
            Platform.open(
                home / "data", rewire=lambda _: told, size=size, secure=secure
            ) as platform,
            Store.open(platform.environment["MONGO_URI"], "ecommerce") as store,
        ):
            yield cls(platform, store, home)

    async def stock(self, count: int) -> tuple[int, float]:
        """Imports products until there are `count`; returns how many it took, and the seconds."""
        new = count - self._imported
        if new <= 0:
            return 0, 0.0
        path = self._home / "products.csv"
        with path.open("w") as file:
            file.write("sku,name,price,stock,category,description\n")
            for n in range(self._imported, count):
                number, name, series = product_names(n)
                about = f"A thing that people order {n % 97} times a year of the {series}."
                price, category = f"{n % 900 + 1}.99", f"c{n % CATEGORIES}"
                file.write(f"{number},{name},{price},{STOCK},{category},{about}\n")
        self._imported = count
        told = await self._imported_from(path)
        if told["created"] != new:
            raise LoadError(f"of {new} products {told['created']} were imported")
        with pymongo.timeout(DATABASE_S):
            products = await self.store["products"].find({}, {"_id": 1}).to_list()
        self.products = [str(each["_id"]) for each in products]
        return new, float(told["seconds"])

    async def welcome(self) -> None:
        """Registers the customers."""
        wire = Wire(self.port, self._tls)
        for number in range(CUSTOMERS):
            email = f"customer-{number}@shop.example"
            self._customers.append((await self._registered(wire, email), email))
        wire.close()

    async def remember(self, clients: Clients, histories: tuple[int, ...]) -> None:
        """Has orders placed, and gives a regular customer for each of `histories` so many.

        Theirs are copies of what has been placed: that many real ones would take as many mails.
        """
        placed = await self.place(clients, OLD_ORDERS_MAX)
        templates = await copying.order_families(self.store, placed, user=True)
        wire = Wire(self.port, self._tls)
        for count in histories:
            user_id = await self._registered(wire, f"regular-{count}@shop.example")
            self._regulars[str(count)] = user_id
            user = ObjectId(user_id)
            names = (copying.order_names(ObjectId(), "", user) for _ in range(count))
            await copying.fill(self.store, templates, names)
            await copying.take(self.store, placed, count)
        wire.close()

    async def place(self, clients: Clients, count_max: int) -> list[Mapping[str, Any]]:
        """Has orders placed for a moment; returns the oldest `count_max` of them."""
        job = Job("order", self.port, await self.stage(), 8, OLD_ORDERS_S, authority=self.authority)
        await clients.run(job)
        await self.settled()
        with pymongo.timeout(DATABASE_S):
            placed = await self.store["orders"].find().sort("_id", 1).limit(count_max).to_list()
        self.orders = [(str(each["_id"]), str(each["user_id"])) for each in placed]
        return list(placed)

    async def stage(self) -> str:
        """Writes down what requests are made of now, with new tokens; returns the path."""
        numbers = {user_id: n for n, (user_id, _) in enumerate(self._customers)}
        drawn = self._random.sample(self.orders, min(len(self.orders), STAGED_MAX))
        stage = Stage(
            self._drawn(),
            [self._tokens.access(user_id, "customer") for user_id, _ in self._customers],
            [(order_id, numbers[user_id]) for order_id, user_id in drawn],
            {n: self._tokens.access(id_, "customer") for n, id_ in self._regulars.items()},
            [(email, PASSWORD) for _, email in self._customers],
            len(self.products) // SERIES,
        )
        self._stage.unlink(missing_ok=True)
        self._stage = self._home / f"stage-{time.monotonic_ns()}.json"  # clients know it by name
        self._stage.write_bytes(msgspec.json.encode(stage))
        return str(self._stage)

    def _drawn(self) -> list[str]:
        """Returns the products that requests are about; the hot set stays the same."""
        rest = self.products[HOT_SET:]
        wanted = STAGED_MAX - HOT_SET
        return self.products[:HOT_SET] + (
            rest if len(rest) <= wanted else self._random.sample(rest, wanted)
        )

    async def settled(self) -> dict[str, float]:
        """Waits until nothing is under way; returns after how many seconds each kind was done."""
        began, after_s = time.monotonic(), {}
        for name, (collection, waiting) in ENDS.items():
            while await self._any(collection, waiting):
                if time.monotonic() > began + SETTLED_S_MAX:
                    raise TimeoutError(f"not all {name} within {SETTLED_S_MAX:.0f} s")
                await asyncio.sleep(0.1)
            after_s[name] = time.monotonic() - began
        return after_s

    def spent_s(self) -> dict[str, float]:
        """Returns each part's processor time so far, that of its children too."""
        parts = self.platform.parts().items()
        return {name: cpu_s(part.process.pid) for name, part in parts if part.process}

    async def _any(self, collection: str, query: Mapping[str, Any]) -> bool:
        with pymongo.timeout(DATABASE_S):
            return await self.store[collection].find_one(query, {"_id": 1}) is not None

    async def _registered(self, wire: Wire, email: str) -> str:
        who = {"email": email, "password": PASSWORD}
        made = await wire.call("POST", "/api/users/register", body=who)
        if made.status != 201:
            raise LoadError(f"a customer was answered {made.status}: {made.body!r}")
        return str(made.json()["id"])

    async def _imported_from(self, path: Path) -> dict[str, Any]:
        """Runs `mercato import products`."""
        folder = str(self.platform.data_dir)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "mercato", "import", "products", str(path),
            "--data-dir", folder, "--json",
            stdout=asyncio.subprocess.PIPE, env=whole_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise LoadError(f"the import failed: {output[:500].decode()}")
        told: dict[str, Any] = msgspec.json.decode(output)
        return told


def cpu_s(pid: int) -> float:
    """Returns the processor time of a process and of its children; 0 once it is gone."""
    try:
        process = psutil.Process(pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    except psutil.Error:
        return 0.0
    return float(sum(each.user + each.system for each in times))


def product_names(n: int) -> tuple[str, str, str]:
    """Returns what names the n-th product: sku, name, and a word that SERIES products share."""
    return f"S-{n:07}", f"Thing {n:07}", series(n // SERIES)

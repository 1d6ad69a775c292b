"""A shop to be measured: a platform on a folder of its own, a catalogue, customers, old orders."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import psutil
import pymongo
from bson import ObjectId

from benchmarks.clients import Clients, LoadError
from benchmarks.jobs import CATEGORIES, Job, Stage
from mercato.embedded import keys
from mercato.embedded.settings import WIDE_LIMITS
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from mercato.platform.settings import Settings, load, whole_environment
from mercato.platform.tokens import Tokens
from mercato.storm.wire import Wire

CUSTOMERS: Final = 64
STOCK: Final = 10_000_000
SETTLED_S_MAX: Final = 1200.0
DATABASE_S: Final = 60.0
OLD_ORDERS_S: Final = 2.0
OLD_ORDERS_MAX: Final = 2_000
INSERTED_AT_ONCE: Final = 1_000
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of accounts that live for an hour

# What has to come to its end after the last order: (collection, what is still on its way).
ENDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "stock decided": ("orders", {"stock": "AWAITING"}),
    "mails handed over": ("order_outbox", {"kind": "mail", "not_before": {"$exists": True}}),
    "mails sent": ("mails", {"state": {"$ne": "SENT"}}),
}


class Shop:
    """Get one from `open`."""

    def __init__(self, platform: Platform, store: Store, home: Path) -> None:
        self.platform = platform
        self.store = store
        self.port = urlsplit(platform.urls["gateway"]).port or 80
        self._home = home
        private, _ = keys.files(platform.data_dir)
        settings = load(Settings, platform.environment)
        self._tokens = Tokens.of(settings, keys_file=str(private))
        self._customers: list[tuple[str, str]] = []  # ids and addresses
        self._regulars: dict[str, str] = {}
        self._imported = 0
        self._products: list[str] = []

    @classmethod
    @asynccontextmanager
    async def open(
        cls, home: Path, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator["Shop"]:
        """Starts a platform on the folder `home`; its services are told `environment` too."""
        told = {**WIDE_LIMITS, **(environment or {})}
        async with (
            Platform.open(home / "data", rewire=lambda _: told) as platform,
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
                about = f"A thing of the kind that people order {n % 97} times a year."
                file.write(f"S-{n},Thing {n},{n % 900 + 1}.99,{STOCK},c{n % CATEGORIES},{about}\n")
        self._imported = count
        told = await self._imported_from(path)
        if told["created"] != new:
            raise LoadError(f"of {new} products {told['created']} were imported")
        with pymongo.timeout(DATABASE_S):
            products = await self.store["products"].find({}, {"_id": 1}).to_list()
        self._products = [str(each["_id"]) for each in products]
        return new, float(told["seconds"])

    async def welcome(self) -> None:
        """Registers the customers."""
        wire = Wire(self.port)
        for number in range(CUSTOMERS):
            email = f"customer-{number}@shop.example"
            self._customers.append((await self._registered(wire, email), email))
        wire.close()

    async def remember(self, clients: Clients, histories: tuple[int, ...]) -> None:
        """Has orders placed, and gives a regular customer for each of `histories` so many.

        Theirs are copies of what has been placed: that many real ones would take as many mails.
        """
        job = Job("order", self.port, await self.stage(), 8, OLD_ORDERS_S)
        await clients.run(job)
        await self.settled()
        placed = await self.store["orders"].find().limit(OLD_ORDERS_MAX).to_list()
        wire = Wire(self.port)
        for count in histories:
            user_id = await self._registered(wire, f"regular-{count}@shop.example")
            self._regulars[str(count)] = user_id
            for begin in range(0, count, INSERTED_AT_ONCE):
                copies = [
                    _copy(placed[n % len(placed)], user_id)
                    for n in range(begin, min(begin + INSERTED_AT_ONCE, count))
                ]
                await self.store["orders"].insert_many(copies)
        wire.close()

    async def stage(self) -> str:
        """Writes down what requests are made of now, with new tokens; returns the path."""
        numbers = {user_id: n for n, (user_id, _) in enumerate(self._customers)}
        ours = {"user_id": {"$in": [ObjectId(user_id) for user_id in numbers]}}
        cursor = self.store["orders"].find(ours, {"user_id": 1}).limit(OLD_ORDERS_MAX)
        orders = [(str(each["_id"]), numbers[str(each["user_id"])]) async for each in cursor]
        stage = Stage(
            self._products,
            [self._tokens.access(user_id, "customer") for user_id, _ in self._customers],
            orders,
            {n: self._tokens.access(id_, "customer") for n, id_ in self._regulars.items()},
            [(email, PASSWORD) for _, email in self._customers],
        )
        path = self._home / f"stage-{time.monotonic_ns()}.json"
        path.write_bytes(msgspec.json.encode(stage))
        return str(path)

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
            stdout=asyncio.subprocess.PIPE, env=whole_environment(),
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise LoadError(f"the import failed: {output.decode()}")
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


def _copy(order: Mapping[str, Any], user_id: str) -> dict[str, Any]:
    copied = {**order, "_id": ObjectId(), "user_id": ObjectId(user_id)}
    copied.pop("idempotency_key", None)
    return copied

"""The services put together as their `main` does, on the simulation's store, broker and wire."""

import asyncio
import contextvars
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import msgspec

from mercato.events import ProductChanged
from mercato.inventory import repository as inventory_repository
from mercato.inventory.handler import InventoryHandler, OrderListener
from mercato.inventory.repository import MongoProducts, MongoStock
from mercato.inventory.usecase import Catalogue, Warehouse
from mercato.kernel.clock import now
from mercato.mailer import repository as mailer_repository
from mercato.mailer.composing import Letter
from mercato.mailer.handler import MailerHandler
from mercato.mailer.mailbox import Resolver
from mercato.mailer.model import Mail
from mercato.mailer.repository import MongoMails
from mercato.mailer.sending import Sender
from mercato.mailer.smtp import MailServer as Address
from mercato.mailer.usecase import Mailing
from mercato.order import repository as order_repository
from mercato.order.handler import OrderHandler, StockListener
from mercato.order.peers import InventoryCatalogue, Post
from mercato.order.reconciler import Reconciler
from mercato.order.repository import MongoOrders
from mercato.order.usecase import Ordering
from mercato.pb import user_pb2
from mercato.platform import dead_letters
from mercato.platform.bus import Bus, Consumer
from mercato.platform.cache import Cache
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.relay import Relay, to_bus
from tests.simulation import broker, mongo, post, wire
from tests.simulation.chance import Trouble
from tests.simulation.loop import Process, VirtualLoop

CURRENCY: Final = "EUR"
T = TypeVar("T")


class World:
    """Everything outside of our processes, and the processes."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, trouble: Trouble) -> None:
        self.loop = loop
        self.trouble = trouble
        self.findings: list[str] = []
        self.poison: set[str] = set()  # what others told that cannot be understood
        self.store = mongo.Server(chance, loop.time)
        self.broker = broker.Broker(loop, trouble)
        self.mail_server = post.MailServer(loop, trouble)
        self.wire = wire.Wire(trouble, self.findings)
        self.cache = SharedCache(trouble)
        self.overdue = timedelta(minutes=10)
        self.processes: dict[str, Process] = {}
        self.dying: list[asyncio.Task[Any]] = []
        for shapes in (order_repository.SHAPES, inventory_repository.SHAPES):
            self.store.shape(shapes)
        self.store.shape({**mailer_repository.SHAPES, "dead_letters": dead_letters.SHAPE})
        self.gateway = Process("gateway")
        self.wire.serve("user", self.gateway, Users())

    def start(self, name: str) -> None:
        """Starts a process, `order`, `inventory 2` and so on, anew."""
        process = self.processes[name] = Process(name)
        begin = BEGINNINGS[name.partition(" ")[0]]
        context = contextvars.Context()
        context.run(process.enter)
        for work in context.run(begin, self, process):
            self.loop.create_task(work, context=context.copy())
        self.trouble.note(name, "starts")

    def kill(self, name: str) -> None:
        self.trouble.note(name, "is killed")
        self.dying += self.processes[name].kill()

    def opened(self, process: Process) -> tuple[Store, Bus]:
        client = mongo.Client(self.store, process, self.trouble)
        store = Store(cast(Any, client), "ecommerce")
        return store, Bus(cast(Any, broker.Client(self.broker, process)))


class SharedCache:
    """Versioned values by key, as the Redis cache keeps them; some are lost."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._values: dict[str, tuple[int, bytes]] = {}

    async def get_many(self, keys: Sequence[str], shape: type[T]) -> dict[str, T]:
        if self._trouble.happens("cache_lost"):
            self._values.clear()
        found = {key: self._values.get(key, (0, b""))[1] for key in keys}
        return {k: msgspec.json.decode(v, type=shape) for k, v in found.items() if v}

    async def put_many(self, values: Mapping[str, tuple[int, object]]) -> None:
        for key, (version, value) in values.items():
            self._put(key, version, msgspec.json.encode(value))

    async def forget(self, versions: Mapping[str, int]) -> None:
        for key, version in versions.items():
            self._put(key, version, b"")

    def _put(self, key: str, version: int, value: bytes) -> None:
        there = self._values.get(key, (-1, b""))[0]
        if there < version or (there == version and value):
            self._values[key] = (version, value)


class Users:
    """Knows everybody's address."""

    async def BatchGetUserProfiles(self, request: Any, _: Any) -> Any:
        profiles = (
            user_pb2.UserProfile(id=i, email=f"{i}@example.com", username=i) for i in request.ids
        )
        return SimpleNamespace(profiles=list(profiles))


def _inventory(world: World, process: Process) -> list[Any]:
    store, bus = world.opened(process)
    cache = cast(Cache, world.cache)
    outbox = Outbox(store["inventory_outbox"])
    catalogue = Catalogue(MongoProducts(store, cache, outbox), now)
    warehouse = Warehouse(MongoStock(store, cache, outbox))
    dead = DeadLetters(store["dead_letters"], "inventory")
    listener = OrderListener(warehouse, dead)
    world.wire.serve("inventory", process, InventoryHandler(catalogue, warehouse, CURRENCY))
    return [
        Relay(outbox, cache, name="inventory", kind="nats", dispatch=to_bus(bus)).run(),
        Relay(outbox, cache, name="inventory", kind="news", dispatch=to_bus(bus)).run(),
        Consumer(bus, "inventory", OrderListener.SUBJECTS, listener, dead.keep).run(),
    ]


def _order(world: World, process: Process) -> list[Any]:
    store, bus = world.opened(process)
    cache = cast(Cache, world.cache)
    channels = cast(Any, wire.Channels(world.wire, process))
    inventory, users, mailer = (cast(Any, wire.Stub(n)) for n in ("inventory", "user", "mailer"))
    catalogue = InventoryCatalogue(inventory, channels)
    orders = MongoOrders(store, cache)
    ordering = Ordering(orders, catalogue, now)
    dead = DeadLetters(store["dead_letters"], "order")
    listener = StockListener(ordering, dead)
    mails = Post(users, mailer, channels)
    world.wire.serve("order", process, OrderHandler(ordering, CURRENCY))
    return [
        Relay(orders.outbox, cache, name="order", kind="nats", dispatch=to_bus(bus)).run(),
        Relay(orders.outbox, cache, name="order", kind="mail", dispatch=mails).run(),
        Consumer(bus, "order", StockListener.SUBJECTS, listener, dead.keep).run(),
        Reconciler(orders.outbox, ordering, inventory, channels, overdue=world.overdue).run(),
        bus.watch(ProductChanged.subject, catalogue.changed),
    ]


def _mailer(world: World, process: Process) -> list[Any]:
    store, _ = world.opened(process)
    mails = MongoMails(store, "shop.example")
    server = Address(host="localhost")
    sending = Sender(mails, _letter, server, connections=2)
    for each in sending._posts:
        each._dial = cast(Any, partial(post.dial, world.mail_server, process))
    mailing = Mailing(sending, now)
    mailbox = cast(Any, post.Mailbox(world.mail_server, process))
    world.wire.serve("mailer", process, MailerHandler(mailing, CURRENCY))
    return [sending.run(), Resolver(mails, mailbox).run()]


def _letter(mail: Mail) -> Letter:
    """A mail's bytes without templates: composing has tests of its own."""
    content = f"Message-ID: <{mail.message_id}>\r\n\r\n".encode()
    return Letter("shop@shop.example", mail.to_email, content)


Beginning = Callable[[World, Process], list[Any]]
BEGINNINGS: Final[dict[str, Beginning]] = {
    "inventory": _inventory, "order": _order, "mailer": _mailer,
}  # fmt: skip

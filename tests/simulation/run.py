"""One seed: a day in the shop with its faults, the time to mend, and the verdict."""

import asyncio
import gc
import hashlib
import itertools
import json
import logging
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog

from mercato.kernel import clock, identity
from tests.simulation import verdict
from tests.simulation.broker.stream import Event
from tests.simulation.chance import Odds, Trouble
from tests.simulation.loop import Stuck, VirtualClock, VirtualLoop, owned_task
from tests.simulation.services import World
from tests.simulation.shop import Shop

FAULTS_S: Final = 4.0  # of trouble; then everything works
REST_S_MAX: Final = 30.0  # in which all must be mended
REST_DEAF_S_MAX: Final = 75.0  # what was told in vain for long is told once a minute
LOOK_S: Final = 0.5
DEAF_EVERY: Final = 30  # one seed in so many hears nothing from inventory until it is reconciled
DEAF_S: Final = 95.0


@dataclass(slots=True)
class Outcome:
    """What came of a seed: what is wrong, and what happened when (virtual seconds)."""

    seed: int
    findings: list[str] = field(default_factory=list)
    trace: list[tuple[Any, ...]] = field(default_factory=list)
    ended_s: float = 0.0

    @property
    def hash(self) -> str:
        lines = "\n".join(map(repr, self.trace)) + "\n".join(self.findings)
        return hashlib.sha256(lines.encode()).hexdigest()


def simulate(seed: int, *, level: int = logging.ERROR) -> Outcome:
    """Runs a seed to its end; the same seed gives the same outcome, to the last line of its trace.

    Across processes it does so under one PYTHONHASHSEED. What the services log from `level` on is
    part of the trace.
    """
    outcome = Outcome(seed)
    chance = random.Random(seed)
    loop = VirtualLoop(chance, shuffled=chance.random() < 0.7)
    loop.set_task_factory(owned_task)
    loop.set_exception_handler(lambda _, about: outcome.findings.append(_told(about)))
    with _heard(outcome, level), _numbered(), _uncollected(), clock.driven_by(VirtualClock(loop)):
        try:
            loop.run_until_complete(_day(loop, chance, outcome))
        except Stuck as stuck:
            outcome.findings.append(str(stuck))
        finally:
            outcome.ended_s = loop.time()
            loop.close()
    return outcome


async def _day(loop: VirtualLoop, chance: random.Random, outcome: Outcome) -> None:
    def note(*words: Any) -> None:
        outcome.trace.append((round(loop.time(), 4), *words))

    trouble = Trouble(chance, Odds.drawn(chance), note)
    world = World(loop, chance, trouble)
    shop = Shop(world)
    world.store.committed = lambda writes: _committed(world, writes)
    note("odds", trouble.odds)
    deaf = outcome.seed % DEAF_EVERY == 0
    if deaf:
        world.broker.deaf, world.overdue = "stock.", timedelta(seconds=20)
    trouble.on = False
    for service in ("inventory", "order", "mailer"):
        for copy in range(chance.choice((1, 1, 2))):
            world.start(service if copy == 0 else f"{service} {copy + 1}")
    await shop.open()
    trouble.on = True
    await _live(world, shop, deaf)
    outcome.findings += verdict.faults(world, shop)
    await _end(world)


async def _live(world: World, shop: Shop, deaf: bool) -> None:
    """Lets the visitors in, has the faults happen, and waits until all is at rest."""
    loop, trouble = world.loop, world.trouble
    async with asyncio.TaskGroup() as group:
        visitors = [group.create_task(_alone(doing)) for doing in shop.visitors()]
        for fault in _faults(world):
            group.create_task(_alone(fault))
        await asyncio.sleep(FAULTS_S)
        trouble.on = False
        trouble.note("the faults are over")
        if deaf:
            await asyncio.sleep(DEAF_S)
            _check_reconciled(world)
            world.broker.deaf = ""
        rest_s = REST_DEAF_S_MAX if deaf else REST_S_MAX
        until = loop.time() + rest_s
        while loop.time() < until:
            if all(task.done() for task in visitors) and verdict.at_rest(world):
                break
            await asyncio.sleep(LOOK_S)
        else:
            world.findings.append(f"not at rest after {rest_s:.0f} s")
        for task in visitors:
            task.cancel()


async def _alone(doing: Awaitable[None]) -> None:
    await doing


def _check_reconciled(world: World) -> None:
    for order in verdict.documents(world, "orders"):
        if order["stock"] == "AWAITING" and order["status"] == "PENDING":
            world.findings.append(f"order {order['_id']} was not reconciled")


def _faults(world: World) -> Iterator[Awaitable[None]]:
    chance = world.trouble.chance
    kinds: list[Callable[[World, random.Random], Awaitable[None]]] = [
        _kill, _kill, _kill, _stall, _stall, _broker_wiped, _broker_away, _consumers_forgotten,
        _store_killed, _mail_server_away, _poison,
    ]  # fmt: skip
    for _ in range(chance.choice((0, 1, 2, 3, 5, 8))):
        yield _at(chance.random() * (FAULTS_S - 0.5), chance.choice(kinds), world, chance)


async def _at(
    at_s: float, kind: Callable[[World, random.Random], Awaitable[None]],
    world: World, chance: random.Random,
) -> None:  # fmt: skip
    await asyncio.sleep(at_s)
    await kind(world, chance)


async def _kill(world: World, chance: random.Random) -> None:
    name = chance.choice(sorted(world.processes))
    if world.processes[name].alive:
        world.kill(name)
        await asyncio.sleep(chance.choice((0.05, 0.3, 1.5)))
        world.start(name)


async def _stall(world: World, chance: random.Random) -> None:
    name, for_s = chance.choice(sorted(world.processes)), chance.choice((0.3, 3.0, 7.0))
    world.trouble.note(name, "is stalled for", for_s, "s")
    world.loop.stall(world.processes[name], for_s)


async def _broker_wiped(world: World, chance: random.Random) -> None:
    world.trouble.note("broker", "is wiped")
    world.broker.wipe(chance.choice((0.05, 0.5, 2.0)))


async def _broker_away(world: World, chance: random.Random) -> None:
    world.trouble.note("broker", "is away")
    world.broker.leave(chance.choice((0.05, 0.5, 3.0)))


async def _consumers_forgotten(world: World, chance: random.Random) -> None:
    world.trouble.note("broker", "forgets its consumers")
    world.broker.forget_consumers()


async def _store_killed(world: World, chance: random.Random) -> None:
    world.trouble.note("store", "is killed")
    world.store.crash(chance.choice((0.05, 0.7, 3.0)))


async def _poison(world: World, chance: random.Random) -> None:
    """Another program tells what nobody can understand, maybe of an order that there is."""
    orders = sorted(str(order["_id"]) for order in verdict.documents(world, "orders"))
    text = json.dumps({"order_id": chance.choice(orders), "items": []}) if orders else "{"
    world.poison.add(text)
    world.trouble.note("another program", "tells", text)
    headers = {"Nats-Msg-Id": f"poison {len(world.poison)}"}
    if not world.broker.away:
        world.broker.store(Event("order.created", text.encode(), headers))


async def _mail_server_away(world: World, chance: random.Random) -> None:
    world.trouble.note("mail server", "is away")
    world.mail_server.away_until = world.loop.time() + chance.choice((0.2, 2.0))


def _committed(world: World, writes: list[tuple[str, Any]]) -> None:
    """Looks at every change at once: the books agree after each."""
    names = [(name, str(_id)) for name, _id in writes]
    world.trouble.note("store", "has", names)
    if any(name in ("products", "reservations", "stock_ledger") for name, _ in names):
        world.findings += verdict.stock_faults(world)


async def _end(world: World) -> None:
    for process in world.processes.values():
        world.dying += process.kill()
    if world.dying:
        await asyncio.wait(world.dying)


def _told(about: dict[str, Any]) -> str:
    return f"{about['message']}: {about.get('exception')!r}"


@contextmanager
def _numbered() -> Iterator[None]:
    """Ids count from one meanwhile: they are the same in every run of a seed."""
    before = identity._COUNTER, identity._PROCESS
    identity._COUNTER, identity._PROCESS = itertools.count(1), b"\0" * 5
    try:
        yield
    finally:
        identity._COUNTER, identity._PROCESS = before


@contextmanager
def _heard(outcome: Outcome, level: int) -> Iterator[None]:
    """Takes what the services log meanwhile, from `level` on; what they call an error is one."""

    def hear(_: Any, name: str, event: MutableMapping[str, Any]) -> str:
        failure = sys.exc_info()[1] if event.pop("exc_info", None) else None
        words = (name, event.pop("event"), *event.items(), *([repr(failure)] if failure else ()))
        outcome.trace.append(("log", *words))
        if name in ("error", "exception", "critical"):
            outcome.findings.append(f"logged: {words}")
        raise structlog.DropEvent

    before = structlog.get_config()
    wrapper = structlog.make_filtering_bound_logger(level)
    structlog.configure(wrapper_class=wrapper, processors=[hear])
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _uncollected() -> Iterator[None]:
    """The garbage of a seed is collected after it: what is alive is alive to its end."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

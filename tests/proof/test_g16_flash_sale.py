"""G16: one SKU sells as fast as one writer can decide, and no decision is made twice."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from nats.js.errors import NotFoundError

from mercato.embedded.supervisor import Platform
from mercato.events import STREAM, OrderFact
from mercato.inventory.handler import OrderListener
from mercato.inventory.model import Unfit
from mercato.inventory.repository import SHAPES, MongoProducts, MongoStock
from mercato.inventory.usecase import Warehouse
from mercato.kernel.identity import new_id
from mercato.platform import dead_letters
from mercato.platform.bus import Bus, Consumer, Letter
from mercato.platform.cache import Cache
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.mongo import Session, Store
from mercato.platform.outbox import Outbox
from mercato.platform.tasks import end
from tests.inventory.goods import balanced, on_hand, product
from tests.proof.figures import Crowd, Figures, p99_ms, percentile, sized

RATE_LEAST = 2_000  # decided orders a second on two cores of our own
STEP_P99_S_MAX = 0.5
ATTEMPTS_MAX = 1.2
AT_ONCE = 1_000
T = TypeVar("T")
pytestmark = pytest.mark.timeout(300)


class CountingStore(Store):
    """The real store; counts transactions and the attempts that they took."""

    transactions = 0
    attempts = 0

    async def transaction(self, body: Callable[[Session], Awaitable[T]]) -> T:
        async def counted(session: Session) -> T:
            self.attempts += 1
            return await body(session)

        self.transactions += 1
        return await super().transaction(counted)


class TimedStock(MongoStock):
    """The real T2; notes how long each step took and how much it decided."""

    def __init__(self, store: Store, cache: Cache, outbox: Outbox) -> None:
        super().__init__(store, cache, outbox)
        self.steps: list[float] = []
        self._more = asyncio.Event()
        self.decided = 0

    async def settle(self, facts: Sequence[OrderFact | Unfit]) -> None:
        began = time.perf_counter()
        await super().settle(facts)
        self.steps.append(time.perf_counter() - began)
        self.decided += len(facts)
        self._more.set()

    async def until(self, decided: int) -> None:
        while self.decided < decided:
            self._more.clear()
            await self._more.wait()


@pytest.fixture
async def counting(servers: Platform) -> AsyncIterator[CountingStore]:
    async with CountingStore.open(servers.environment["MONGO_URI"], "flash_sale") as store:
        await store.client.drop_database("flash_sale")
        await store.ensure(SHAPES | {"dead_letters": dead_letters.SHAPE})
        assert isinstance(store, CountingStore)
        yield store


async def fill(bus: Bus, payloads: list[bytes]) -> None:
    """Puts the orders into an empty stream, as their relay would."""
    left = [Letter("order.created", each, {"Nats-Msg-Id": new_id()}) for each in payloads]
    while left:
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        taken = await bus.publish(some)
        left += [letter for letter, there in zip(some, taken, strict=True) if not there]


def an_order(product_id: str) -> bytes:
    fact: dict[str, Any] = {"order_id": new_id()}
    return json.dumps(fact | {"items": [{"product_id": product_id, "quantity": 1}]}).encode()


async def test_one_sku_is_decided_two_thousand_times_a_second(
    servers: Platform, counting: CountingStore, cache: Cache, figures: Figures
) -> None:
    orders = sized(20_000, least=2_000)
    outbox = Outbox(counting["inventory_outbox"])
    hot = product(orders // 2)
    await MongoProducts(counting, cache, outbox).add(hot)
    stock = TimedStock(counting, cache, outbox)
    dead = DeadLetters(counting["dead_letters"], "flash")
    async with Bus.open(servers.environment["NATS_URL"], "flash") as bus:
        await bus.until_connected()
        with contextlib.suppress(NotFoundError):
            await bus.stream.delete_stream(STREAM)
        assert await bus.ensure_stream()
        await fill(bus, [an_order(hot.id) for _ in range(orders)])
        counting.transactions = counting.attempts = 0
        listener = OrderListener(Warehouse(stock), dead)
        crowd, began = Crowd(), time.perf_counter()
        consumer = Consumer(bus, "flash", ("order.>",), listener, dead.keep)
        task = asyncio.get_running_loop().create_task(consumer.run())
        await stock.until(orders)
        seconds = time.perf_counter() - began
        free_cores = crowd.free_cores
        await end([task])
    rate, attempts = orders / seconds, counting.attempts / counting.transactions
    figures.tell(
        "G16", orders=orders, decided_per_s=round(rate), reserve_step_p99_ms=p99_ms(stock.steps),
        attempts_per_transaction=attempts, orders_per_step=orders / len(stock.steps),
        cores_free_for_us=free_cores,
    )  # fmt: skip
    assert await on_hand(counting, hot.id) == 0
    assert await balanced(counting, hot.id)
    held = await counting["reservations"].count_documents({"state": "HELD"})
    assert held == orders // 2
    assert attempts <= ATTEMPTS_MAX
    assert percentile(stock.steps, 0.99) <= STEP_P99_S_MAX * max(1, 2 / free_cores)
    assert rate >= RATE_LEAST * min(1, free_cores / 2)

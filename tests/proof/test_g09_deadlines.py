"""G9: callers that give up do no harm: each key is one order, and nothing is left running."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from bson import ObjectId

from mercato.embedded.ports import LOOPBACK, any_free
from mercato.kernel.clock import now
from mercato.kernel.errors import AppError
from mercato.kernel.identity import Caller, new_id
from mercato.order.handler import ALLOWED, OrderHandler
from mercato.order.peers import InventoryCatalogue
from mercato.order.repository import MongoOrders
from mercato.order.usecase import Ordering
from mercato.pb import order_pb2
from mercato.pb.inventory_pb2_grpc import InventoryServiceStub
from mercato.pb.order_pb2_grpc import OrderServiceStub, add_OrderServiceServicer_to_server
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.rpc import Channels, Server
from mercato.platform.tokens import Tokens
from tests.proof.figures import Crowd, Figures, sized
from tests.story.shop import Customer, Shop

AT_ONCE = 48
PATIENT_S = 5.0
SEED = 9
pytestmark = pytest.mark.timeout(600)


@dataclass
class Counter:
    """An order service in this process, where its tasks can be counted, and how to call it."""

    stub: OrderServiceStub
    channels: Channels
    buyer: Customer
    cut_off: int = 0
    calls: int = 0

    async def place(self, product: str, key: str, deadline_s: float) -> str:
        """Returns the order's id; raises what the call ends with."""
        item = order_pb2.OrderItem(product_id=product, quantity=1)
        request = order_pb2.CreateOrderRequest(
            user_id=self.buyer.id, items=[item], idempotency_key=key
        )
        self.calls += 1
        answer = await self.channels.call(
            self.stub.CreateOrder, request, deadline_s=deadline_s,
            speaks_for=Caller(self.buyer.id, "customer"),
        )  # fmt: skip
        return answer.id

    async def insist(self, product: str, dice: random.Random) -> tuple[str, str]:
        """Repeats one order with random deadlines, in the end with patience; (key, order id)."""
        key = new_id()
        for deadline_s in (dice.uniform(0.001, 0.3), dice.uniform(0.001, 0.3), *[PATIENT_S] * 5):
            try:
                return key, await self.place(product, key, deadline_s)
            except AppError:
                self.cut_off += 1
        raise AssertionError("a patient call was refused five times")


@pytest.fixture
async def counter(shop: Shop) -> AsyncIterator[Counter]:
    e = shop.platform.environment
    tokens, port = Tokens(e["JWT_SECRET"]), any_free()
    server = Server([order_pb2.DESCRIPTOR.services_by_name["OrderService"]], tokens, ALLOWED)
    inside, outside = Channels(tokens, "order"), Channels(tokens, "gateway")
    async with (
        Store.open(e["MONGO_URI"], "ecommerce") as store,
        Cache.open(e["REDIS_ADDR"]) as cache,
        inside.open(e["INVENTORY_SERVICE"]) as inventory,
        outside.open(f"{LOOPBACK}:{port}") as channel,
    ):
        catalogue = InventoryCatalogue(InventoryServiceStub(inventory), inside)
        ordering = Ordering(MongoOrders(store, cache), catalogue, now)
        add_OrderServiceServicer_to_server(OrderHandler(ordering, "EUR"), server.grpc)
        async with server.listen(LOOPBACK, port):
            yield Counter(OrderServiceStub(channel), outside, await shop.register("hasty"))


async def test_ten_thousand_hasty_callers_place_one_order_a_key_and_leave_nothing_behind(
    shop: Shop, counter: Counter, figures: Figures
) -> None:
    orders, dice, crowd = sized(10_000, least=500), random.Random(SEED), Crowd()
    product = await shop.add_product(1_000_000)
    await counter.insist(product, dice)
    before, room = len(asyncio.all_tasks()), asyncio.Semaphore(AT_ONCE)
    placed: dict[str, str] = {}

    async def one() -> None:
        async with room:
            key, order_id = await counter.insist(product, dice)
            placed[key] = order_id

    await asyncio.gather(*(one() for _ in range(orders)))
    await asyncio.sleep(1)
    leaked = len(asyncio.all_tasks()) - before
    there = await shop.database.orders.count_documents({"user_id": ObjectId(counter.buyer.id)})
    figures.tell(
        "G9", keys=orders, calls=counter.calls, cut_off=counter.cut_off, orders=there - 1,
        leaked_tasks=leaked, cores_free_for_us=crowd.free_cores,
    )  # fmt: skip
    assert len(set(placed.values())) == orders
    assert there == orders + 1
    assert counter.cut_off > orders // 20, "hardly a caller gave up: the deadlines were too long"
    assert leaked <= 0

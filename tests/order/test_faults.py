"""The services under fire, called as the gateway calls them: never a fault, never a lost order."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import Caller, new_id
from mercato.pb import inventory_pb2, money_pb2, order_pb2
from mercato.pb.inventory_pb2_grpc import InventoryServiceStub
from mercato.pb.order_pb2_grpc import OrderServiceStub
from mercato.platform.rpc import Channels
from mercato.platform.rpc.refusals import Refused
from mercato.platform.tokens import Tokens

ADMIN = Caller(new_id(), "admin")
MAY_BE_SAID = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Services:
    """Inventory and order, as the gateway reaches them."""

    def __init__(self, channels: Channels, inventory: Any, orders: Any) -> None:
        self._channels = channels
        self._inventory = inventory
        self._orders = orders

    async def product(self, stock: int = 1000) -> str:
        price = money_pb2.Money(minor=100, currency="EUR")
        request = inventory_pb2.CreateProductRequest(name="Lamp", stock=stock, price=price)
        made = await self._channels.call(self._inventory.CreateProduct, request, speaks_for=ADMIN)
        return str(made.id)

    async def restock(self, product_id: str) -> inventory_pb2.Product:
        request = inventory_pb2.AdjustStockRequest(
            id=product_id, delta=1, reason="found", idempotency_key=new_id()
        )
        return await self._channels.call(self._inventory.AdjustStock, request, speaks_for=ADMIN)

    async def page(self) -> Any:
        request = inventory_pb2.ListProductsRequest(limit=5)
        return await self._channels.call(self._inventory.ListProducts, request, speaks_for=ADMIN)

    async def place(self, product_id: str, user_id: str, key: str) -> str:
        item = order_pb2.OrderItem(product_id=product_id, quantity=1)
        request = order_pb2.CreateOrderRequest(user_id=user_id, items=[item], idempotency_key=key)
        buyer = Caller(user_id, "customer")
        placed = await self._channels.call(self._orders.CreateOrder, request, speaks_for=buyer)
        return str(placed.id)

    async def settled(self, order_id: str) -> str:
        """Returns what became of the order's stock, once it is decided."""
        request = order_pb2.GetOrderRequest(id=order_id)
        while True:
            order = await self._channels.call(self._orders.GetOrder, request, speaks_for=ADMIN)
            if order.stock != "AWAITING":
                return str(order.stock)
            await asyncio.sleep(0.05)


@pytest.fixture
async def services(platform: Platform) -> AsyncIterator[Services]:
    environment = platform.environment
    channels = Channels(Tokens(environment["JWT_SECRET"]), "gateway")
    async with (
        channels.open(environment["INVENTORY_SERVICE"]) as inventory,
        channels.open(environment["ORDER_SERVICE"]) as orders,
    ):
        yield Services(channels, InventoryServiceStub(inventory), OrderServiceStub(orders))


class Callers:
    """Call something again and again, and note what they are told."""

    def __init__(self) -> None:
        self.said: Counter[grpc.StatusCode] = Counter()
        self.stop = False

    async def go(self, once: Callable[[], Awaitable[Any]]) -> None:
        while not self.stop:
            try:
                await once()
            except Refused as refused:
                self.said[refused.code] += 1
                await asyncio.sleep(0.05)
            else:
                self.said[grpc.StatusCode.OK] += 1
                await asyncio.sleep(0.01)


def lives(platform: Platform) -> list[int]:
    return [platform.parts()[name].restarts for name in ("inventory", "order")]


async def test_a_mongod_that_dies_is_unavailable_and_no_fault_and_loses_nothing(
    platform: Platform, services: Services
) -> None:
    lamp, user, callers = await services.product(), new_id(), Callers()
    keys: dict[str, str] = {}
    before = lives(platform)

    async def place() -> None:
        key = new_id()
        keys[key] = ""
        keys[key] = await services.place(lamp, user, key)

    ways = [place, place, place, services.page, lambda: services.restock(lamp)]
    running = [asyncio.ensure_future(callers.go(way)) for way in ways]
    for _ in range(2):
        await asyncio.sleep(0.7)
        platform.kill("mongo")
        async with asyncio.timeout(30):
            await platform.wait_ready("mongo")
    await asyncio.sleep(2)
    callers.stop = True
    await asyncio.gather(*running)
    assert lives(platform) == before, "a service has died of it"
    assert set(callers.said) <= MAY_BE_SAID | {grpc.StatusCode.OK}, callers.said
    assert callers.said[grpc.StatusCode.OK] > 20
    few = asyncio.Semaphore(16)

    async def became(key: str, order_id: str) -> str:
        async with few:
            again = await services.place(lamp, user, key)  # the same key decides what became of it
            assert order_id in ("", again)
            return await services.settled(again)

    async with asyncio.timeout(25):
        ends = await asyncio.gather(*(became(*placed) for placed in keys.items()))
    assert set(ends) == {"RESERVED"}


async def test_without_inventory_an_order_is_refused_as_unavailable(
    platform: Platform, services: Services
) -> None:
    lamp, user = await services.product(), new_id()
    first = await services.place(lamp, user, "k")
    await platform.stop("inventory")
    try:
        await asyncio.sleep(1.1)  # for as long a price is remembered
        with pytest.raises(Refused) as refused:
            await services.place(lamp, user, "another")
        assert refused.value.code is grpc.StatusCode.UNAVAILABLE
        assert await services.place(lamp, user, "k") == first, (
            "a known key is answered all the same"
        )
    finally:
        await platform.start("inventory")
    async with asyncio.timeout(10):
        assert await services.settled(first) == "RESERVED"

"""Who uses the shop: customers that repeat what was not answered, a keeper, and a stranger."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from mercato.kernel.identity import Caller, new_id
from mercato.pb import inventory_pb2, money_pb2, order_pb2
from mercato.platform.rpc.refusals import Refused, refusal_of
from tests.simulation import wire
from tests.simulation.services import World

AGAIN: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
}
TRIES_MAX: Final = 500
COMPLETING_S_MAX: Final = 20.0
ADMIN: Final = Caller("a" * 24, "admin")


@dataclass(slots=True)
class Wish:
    """What a customer wants, and what was said to it."""

    user_id: str
    key: str
    items: dict[str, int]
    ids: set[str] = field(default_factory=set)  # of the orders that were acknowledged
    refused: str = ""
    set_to: set[str] = field(default_factory=set)  # statuses that were acknowledged


@dataclass(slots=True)
class Restock:
    key: str
    product_id: str
    delta: int
    acknowledged: bool = False


class Shop:
    """The shop as its customers see it, and what they were promised."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._channels = wire.Channels(world.wire, world.gateway)
        self.wishes: list[Wish] = []
        self.restocks: list[Restock] = []
        self.stock: dict[str, int] = {}  # initial, by product

    async def open(self) -> None:
        """Puts the products on sale, before any trouble begins."""
        chance = self._world.trouble.chance
        for number in range(chance.randint(1, 3)):
            stock = chance.choice((0, 1, 2, 3, 5, 8, 13))
            request = inventory_pb2.CreateProductRequest(
                name=f"P{number}", stock=stock, price=money_pb2.Money(minor=100 + number)
            )
            product = await self._call("inventory", "CreateProduct", request, ADMIN)
            self.stock[product.id] = stock

    def visitors(self) -> list[Awaitable[None]]:
        """Returns everybody's doings of a day, to be run side by side."""
        chance = self._world.trouble.chance
        customers = [new_id() for _ in range(chance.randint(1, 3))]
        doings: list[Awaitable[None]] = []
        for number in range(chance.randint(3, 8)):
            some = chance.sample(sorted(self.stock), chance.randint(1, len(self.stock)))
            items = {product_id: chance.randint(1, 3) for product_id in some}
            wish = Wish(chance.choice(customers), f"key {number}", items)
            self.wishes.append(wish)
            doings += [self._shop(wish, chance.random() * 2)]
            if chance.random() < 0.2:  # the same once more, side by side
                doings += [self._place(wish, chance.random() * 2)]
        for number in range(chance.randint(0, 2)):
            product_id = chance.choice(sorted(self.stock))
            restock = Restock(f"r{number}", product_id, chance.randint(1, 4))
            self.restocks.append(restock)
            doings.append(self._restock(restock, chance.random() * 3))
        return doings

    async def _shop(self, wish: Wish, start_s: float) -> None:
        chance = self._world.trouble.chance
        await self._place(wish, start_s)
        if not wish.ids:
            return
        order_id = min(wish.ids)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.choice((0.0, 0.01, 0.5, 3.0)))
            await self._steal(order_id)
        cancels = (wish, order_id, "CANCELLED", Caller(wish.user_id, "customer"))
        completes = (wish, order_id, "COMPLETED", ADMIN)
        doings = chance.choice(
            ((), (), (cancels,), (cancels,), (completes,), (completes,), (cancels, completes),
             (completes, cancels))
        )  # fmt: skip
        for doing in doings:
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.01, 0.3, 1.5, 4.0)))
            await self._set(*doing)

    async def _place(self, wish: Wish, start_s: float) -> None:
        await asyncio.sleep(start_s)
        items = [order_pb2.OrderItem(product_id=p, quantity=q) for p, q in wish.items.items()]
        order = order_pb2.CreateOrderRequest(
            user_id=wish.user_id, items=items, idempotency_key=wish.key
        )
        request = order_pb2.BatchCreateOrdersRequest(orders=[order])

        async def placed() -> Any:
            answer = await self._call("order", "BatchCreateOrders", request)
            result = answer.results[0]
            if result.HasField("error"):
                raise refusal_of(result.error)
            return result.response

        try:
            wish.ids.add((await self._insist(placed)).id)
        except Refused as refusal:
            wish.refused = refusal.slug
            self._world.findings.append(f"{wish.key} was refused: {refusal.slug}")

    async def _set(self, wish: Wish, order_id: str, status: str, by: Caller) -> None:
        loop = self._world.loop
        until, pause_s = loop.time() + COMPLETING_S_MAX, 0.1
        request = order_pb2.UpdateOrderStatusRequest(id=order_id, status=status)
        while True:
            try:
                await self._insist(lambda: self._call("order", "UpdateOrderStatus", request, by))
            except Refused as refusal:
                if refusal.slug not in ("order-not-completable", "order-not-cancellable"):
                    self._world.findings.append(f"{order_id} {status}: {refusal.slug}")
                    return
                done = status == "CANCELLED" or "CANCELLED" in refusal.detail
                if done or loop.time() > until:
                    return
            else:
                wish.set_to.add(status)
                self._world.trouble.note("customer", "has set", order_id, status)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)

    async def _steal(self, order_id: str) -> None:
        """Somebody cancels an order that is not theirs."""
        request = order_pb2.UpdateOrderStatusRequest(id=order_id, status="CANCELLED")
        stranger = Caller("b" * 24, "customer")
        try:
            await self._insist(lambda: self._call("order", "UpdateOrderStatus", request, stranger))
        except Refused as refusal:
            if refusal.code is not grpc.StatusCode.NOT_FOUND:
                self._world.findings.append(f"a stranger is told {refusal.slug} of {order_id}")
        else:
            self._world.findings.append(f"a stranger has cancelled {order_id}")

    async def _restock(self, restock: Restock, start_s: float) -> None:
        await asyncio.sleep(start_s)
        request = inventory_pb2.AdjustStockRequest(
            id=restock.product_id, delta=restock.delta, reason="more", idempotency_key=restock.key
        )
        await self._insist(lambda: self._call("inventory", "AdjustStock", request, ADMIN))
        restock.acknowledged = True

    async def _call(self, service: str, method: str, request: Any, by: Caller | None = None) -> Any:
        return await self._channels.call((service, method), request, speaks_for=by)

    async def _insist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Calls until there is an answer; raises a Refused that is one."""
        for attempt in range(TRIES_MAX):
            try:
                return await call()
            except Refused as refusal:
                if refusal.code not in AGAIN:
                    raise
            await asyncio.sleep(min(0.1 * 2**attempt, 1.0))
        raise AssertionError(f"no answer after {TRIES_MAX} tries")

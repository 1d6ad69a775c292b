"""The order service's front door: its gRPC methods, and inventory's answers as they arrive."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from mercato.events import OrderFact, StockRejected, StockReleased, StockReserved, StockSold
from mercato.kernel.clock import now, rfc3339
from mercato.kernel.errors import Forbidden
from mercato.kernel.identity import Party, is_id
from mercato.kernel.money import Money
from mercato.order.model import Draft, Order, Status
from mercato.order.usecase import Ordering
from mercato.pb import money_pb2, order_pb2
from mercato.pb.order_pb2_grpc import OrderServiceServicer
from mercato.platform import telemetry
from mercato.platform.bus import Delivery
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.rpc import caller, status_of, validated

ALLOWED: Final[dict[str, frozenset[Party]]] = {
    "CreateOrder": frozenset({"customer", "admin"}),
    "GetOrder": frozenset({"customer", "admin"}),
    "UpdateOrderStatus": frozenset({"customer", "admin"}),
    "ListUserOrders": frozenset({"customer", "admin"}),
    "GetOrderHistory": frozenset({"customer", "admin"}),
    "BatchCreateOrders": frozenset({"gateway"}),
    "BatchGetOrders": frozenset({"gateway"}),
}

MESSAGES: Final = {
    Status.PENDING: "The order is pending.",
    Status.COMPLETED: "The order is completed.",
    Status.CANCELLED: "The order is cancelled.",
}


class OrderHandler(OrderServiceServicer):
    """Turns messages into calls of Ordering, and orders into messages."""

    def __init__(self, ordering: Ordering, currency: str) -> None:
        self._ordering = ordering
        self._currency = currency

    async def CreateOrder(
        self, request: order_pb2.CreateOrderRequest, context: Any
    ) -> order_pb2.CreateOrderResponse:
        if not caller().owns(request.user_id):
            raise Forbidden("an order can only be placed for oneself")
        return await self._place(request)

    async def BatchCreateOrders(
        self, request: order_pb2.BatchCreateOrdersRequest, context: Any
    ) -> order_pb2.BatchCreateOrdersResponse:
        results = await asyncio.gather(
            *(self._place_checked(order) for order in request.orders), return_exceptions=True
        )
        answer = order_pb2.BatchCreateOrdersResponse()
        for result in results:
            if isinstance(result, BaseException):
                answer.results.add().error.CopyFrom(status_of(result))
            else:
                answer.results.add().response.CopyFrom(result)
        return answer

    async def GetOrder(self, request: order_pb2.GetOrderRequest, context: Any) -> order_pb2.Order:
        return _message(await self._ordering.get(request.id, caller()))

    async def BatchGetOrders(
        self, request: order_pb2.BatchGetOrdersRequest, context: Any
    ) -> order_pb2.BatchGetOrdersResponse:
        found = await self._ordering.find([(wish.id, wish.user_id) for wish in request.orders])
        answer = order_pb2.BatchGetOrdersResponse()
        for order in found:
            result = answer.results.add()
            if order is not None:
                result.order.CopyFrom(_message(order))
        return answer

    async def ListUserOrders(
        self, request: order_pb2.ListUserOrdersRequest, context: Any
    ) -> order_pb2.ListUserOrdersResponse:
        orders, cursor = await self._ordering.page(
            caller(), request.user_id, request.status, request.cursor, request.limit
        )
        return order_pb2.ListUserOrdersResponse(orders=map(_message, orders), next_cursor=cursor)

    async def GetOrderHistory(
        self, request: order_pb2.GetOrderHistoryRequest, context: Any
    ) -> order_pb2.GetOrderHistoryResponse:
        order = await self._ordering.get(request.id, caller())
        entries = (
            order_pb2.HistoryEntry(at=rfc3339(e.at), by=e.by, action=e.action, detail=e.detail)
            for e in order.history
        )
        return order_pb2.GetOrderHistoryResponse(entries=entries)

    async def UpdateOrderStatus(
        self, request: order_pb2.UpdateOrderStatusRequest, context: Any
    ) -> order_pb2.UpdateOrderStatusResponse:
        order = await self._ordering.set_status(request.id, Status(request.status), caller())
        return order_pb2.UpdateOrderStatusResponse(
            id=order.id, message=MESSAGES[order.status], order=_message(order)
        )

    async def _place_checked(
        self, request: order_pb2.CreateOrderRequest
    ) -> order_pb2.CreateOrderResponse:
        given = {"x-request-id": request.request_id, "traceparent": request.traceparent}
        telemetry.begin(given)  # this runs in a task of its own, and so does its context
        return await self._place(validated(request))

    async def _place(self, request: order_pb2.CreateOrderRequest) -> order_pb2.CreateOrderResponse:
        order, replayed = await self._ordering.place(self._draft(request))
        return order_pb2.CreateOrderResponse(
            id=order.id, message="The order is placed.", order=_message(order), replayed=replayed
        )

    def _draft(self, request: order_pb2.CreateOrderRequest) -> Draft:
        expected = None
        if request.HasField("expected_total"):
            money = request.expected_total
            expected = Money(money.minor, money.currency or self._currency)
        items = tuple((item.product_id, item.quantity) for item in request.items)
        key = request.idempotency_key or None
        return Draft(request.user_id, items, key, _fingerprint(items, expected), expected)


class StockListener:
    """Takes inventory's facts into the orders."""

    SUBJECTS: Final = ("stock.>",)
    FACTS: Final[dict[str, type[OrderFact]]] = {
        fact.subject: fact for fact in (StockReserved, StockRejected, StockReleased, StockSold)
    }

    def __init__(self, ordering: Ordering, dead: DeadLetters) -> None:
        self._ordering = ordering
        self._dead = dead

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        at = now()
        await asyncio.gather(*(self._hear(delivery, at) for delivery in deliveries))

    async def _hear(self, delivery: Delivery, at: datetime) -> None:
        telemetry.begin(delivery.headers)
        try:
            fact = msgspec.json.decode(delivery.payload, type=self.FACTS[delivery.subject])
            if not is_id(fact.order_id):
                raise ValueError("order_id is no id")
        except (KeyError, ValueError, RecursionError) as failure:
            await self._dead.keep(delivery, str(failure))
            return
        await self._ordering.heard(fact, at)


def _fingerprint(items: Sequence[tuple[str, int]], expected: Money | None) -> str:
    body = msgspec.json.encode((items, expected))
    return hashlib.sha256(body).hexdigest()


def _message(order: Order) -> order_pb2.Order:
    items = [
        order_pb2.OrderItem(
            product_id=line.product_id, name=line.name, quantity=line.quantity,
            unit_price=_money(line.unit_price),
        )
        for line in order.lines
    ]  # fmt: skip
    return order_pb2.Order(
        id=order.id, user_id=order.user_id, items=items, total=_money(order.total),
        status=order.status, stock=order.stock, reason=order.reason, version=order.version,
        created_at=rfc3339(order.created_at), updated_at=rfc3339(order.updated_at),
    )  # fmt: skip


def _money(money: Money) -> money_pb2.Money:
    return money_pb2.Money(minor=money.minor, currency=money.currency)

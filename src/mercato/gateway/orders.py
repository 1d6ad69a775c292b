"""/api/orders: placing orders, reading them, and what becomes of them."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import grpc
from msgspec import UNSET

from mercato.gateway.operation import Who, operation
from mercato.gateway.order_shapes import (
    Entry,
    History,
    Line,
    NewOrder,
    NewStatus,
    Order,
    OrderListing,
    OrderPage,
    OrderWithMessage,
    PlacingHeaders,
)
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import (
    ById,
    amount_of,
)
from mercato.kernel.errors import Forbidden, NotFound
from mercato.kernel.identity import Caller, new_id
from mercato.pb import order_pb2, order_pb2_grpc
from mercato.platform import telemetry
from mercato.platform.fold import Fold
from mercato.platform.rpc import Channels, refusal_of
from mercato.platform.rpc.refusals import Refused

TRIES_MAX: Final = 2
POLL_S_MIN, POLL_S_MAX = 0.025, 0.2

_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Orders:
    """Orders of the caller's own; an admin's are everybody's."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._orders = order_pb2_grpc.OrderServiceStub(channel)
        self._place: Fold[order_pb2.CreateOrderRequest, order_pb2.CreateOrderResponse] = Fold(
            self._placed, size_max=64, runs_max=4, waiting_max=4_000
        )
        self._read: Fold[order_pb2.OwnedOrder, order_pb2.Order] = Fold(
            self._found, size_max=64, runs_max=2, waiting_max=4_000
        )

    @operation(
        "POST", "/api/orders", Who.USER, OrderWithMessage, status=201, refusals=[404, 409],
        answers_with=["Location", "Idempotent-Replayed", "Preference-Applied"],
        scope="orders:write",
    )  # fmt: skip
    async def place(self, caller: Caller, headers: PlacingHeaders, body: NewOrder) -> Reply:
        """Place an order.

        It is priced from the catalogue, and kept once this is answered; whether the stock is there
        is decided a moment later (`stock`). A `total` is checked and never believed.
        A repeated `Idempotency-Key` is answered with the order as it was placed, byte for byte,
        whatever has become of it; with `Prefer: wait`, as it is when the wait ends.
        """
        # Our own second try must not be a second order, so that each order has a key.
        request = _request(caller, body, headers.key or f"gateway:{new_id()}")
        answer = await self._placed_once(request)
        order, message = answer.order, answer.message
        more = {"location": f"/api/orders/{answer.id}"}
        if answer.replayed:
            more["idempotent_replayed"] = "true"
        if headers.wait_s is not None:
            order = await self._decided(order, headers.wait_s)
            more["preference_applied"] = f"wait={headers.wait_s}"
            if order.stock == "REJECTED":
                message = f"The order was placed, and is cancelled: {order.reason}."
        return reply(_with_message(order, message), 201, **more)

    @operation("GET", "/api/orders", Who.USER, OrderPage, scope="orders:read")
    async def browse(self, caller: Caller, query: OrderListing) -> Reply:
        """List orders, newest first.

        One's own; an admin sees everybody's, or one user's.
        """
        user_id = query.user_id.lower() or ("" if caller.rules else caller.id)
        if not caller.owns(user_id):
            raise Forbidden("only an admin may list somebody else's orders")
        request = order_pb2.ListUserOrdersRequest(
            user_id=user_id, status=query.status, cursor=query.cursor.lower(), limit=query.limit
        )
        found = await self._channels.call(self._orders.ListUserOrders, request, speaks_for=caller)
        return reply(OrderPage([_order(each) for each in found.orders], found.next_cursor))

    @operation("GET", "/api/orders/{id}", Who.USER, Order, scope="orders:read")
    async def get(self, caller: Caller, path: ById) -> Reply:
        """Read an order."""
        owner = "" if caller.rules else caller.id
        return reply(
            _order(await self._read(order_pb2.OwnedOrder(id=path.id.lower(), user_id=owner)))
        )

    @operation("GET", "/api/orders/{id}/history", Who.USER, History, scope="orders:read")
    async def history(self, caller: Caller, path: ById) -> Reply:
        """Read what became of an order, oldest first."""
        request = order_pb2.GetOrderHistoryRequest(id=path.id.lower())
        found = await self._channels.call(self._orders.GetOrderHistory, request, speaks_for=caller)
        return reply(History([Entry(e.at, e.by, e.action, e.detail) for e in found.entries]))

    @operation(
        "PUT",
        "/api/orders/{id}/status",
        Who.USER,
        OrderWithMessage,
        refusals=[409],
        scope="orders:write",
    )
    async def set_status(self, caller: Caller, path: ById, body: NewStatus) -> Reply:
        """Cancel or complete an order.

        Its owner may cancel it while it is PENDING; the rest is an admin's.
        """
        if not caller.rules and body.status != "CANCELLED":
            raise Forbidden("only an admin may set this status")
        request = order_pb2.UpdateOrderStatusRequest(id=path.id.lower(), status=body.status)
        answer = await self._channels.call(
            self._orders.UpdateOrderStatus, request, speaks_for=caller
        )
        return reply(_with_message(answer.order, answer.message))

    async def _placed_once(
        self, request: order_pb2.CreateOrderRequest
    ) -> order_pb2.CreateOrderResponse:
        for _ in range(TRIES_MAX - 1):
            try:
                return await self._place(request)
            except Refused as refused:
                if refused.code not in _AWAY:
                    raise
        return await self._place(request)

    async def _decided(self, order: order_pb2.Order, wait_s: int) -> order_pb2.Order:
        """Returns the order once its stock is decided, or as it is after `wait_s` seconds."""
        until, delay_s = time.monotonic() + wait_s, POLL_S_MIN
        while order.stock == "AWAITING" and time.monotonic() < until:
            await asyncio.sleep(min(delay_s, max(until - time.monotonic(), 0)))
            delay_s = min(delay_s * 1.5, POLL_S_MAX)
            try:
                order = await self._read(order_pb2.OwnedOrder(id=order.id, user_id=order.user_id))
            except Refused as refused:  # the order is placed: a read that fails takes nothing back
                if refused.code not in _AWAY:
                    raise
        return order

    async def _placed(
        self, requests: Sequence[order_pb2.CreateOrderRequest]
    ) -> list[order_pb2.CreateOrderResponse | Exception]:
        batch = order_pb2.BatchCreateOrdersRequest(orders=requests)
        answer = await self._channels.call(self._orders.BatchCreateOrders, batch)
        return [
            refusal_of(each.error) if each.HasField("error") else each.response
            for each in answer.results
        ]

    async def _found(
        self, wanted: Sequence[order_pb2.OwnedOrder]
    ) -> list[order_pb2.Order | Exception]:
        batch = order_pb2.BatchGetOrdersRequest(orders=wanted)
        answer = await self._channels.call(self._orders.BatchGetOrders, batch)
        return [
            each.order if each.HasField("order") else NotFound("there is no such order")
            for each in answer.results
        ]


def _request(caller: Caller, body: NewOrder, key: str) -> order_pb2.CreateOrderRequest:
    user_id = (body.user_id or caller.id).lower()
    if not caller.owns(user_id):
        raise Forbidden("only an admin may order for somebody else")
    trace = telemetry.current()
    return order_pb2.CreateOrderRequest(
        user_id=user_id,
        items=[
            order_pb2.OrderItem(product_id=line.product_id.lower(), quantity=line.quantity)
            for line in body.items
        ],
        idempotency_key=key,
        expected_total=body.total.message if body.total else None,
        # Folded with others, the call itself carries the trace of only one of them.
        request_id=trace.request_id if trace else "",
        traceparent=trace.traceparent if trace else "",
    )


def _order(order: order_pb2.Order) -> Order:
    return Order(**_fields(order))


def _with_message(order: order_pb2.Order, message: str) -> OrderWithMessage:
    return OrderWithMessage(**_fields(order), message=message)


def _fields(order: order_pb2.Order) -> dict[str, Any]:
    lines = [
        Line(item.product_id, item.name, item.quantity, amount_of(item.unit_price))
        for item in order.items
    ]
    return {
        "id": order.id,
        "user_id": order.user_id,
        "items": lines,
        "total": amount_of(order.total),
        "currency": order.total.currency,
        "status": order.status,
        "stock": order.stock,
        "reason": order.reason or UNSET,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }

"""Orders in a dictionary."""

from dataclasses import dataclass, field

from mercato.kernel.errors import AppError, Conflict, Invalid, NotFound, Violation
from mercato.kernel.identity import new_id
from mercato.pb import order_pb2, order_pb2_grpc
from mercato.platform.rpc import caller, status_of, validated
from tests.gateway.fakes.inventory import FakeInventory
from tests.gateway.fakes.service import NOW, Context, Service


class KeyUsedOtherwise(Invalid):
    pass


class TotalMismatch(Conflict):
    pass


@dataclass
class FakeOrders(Service, order_pb2_grpc.OrderServiceServicer):
    inventory: FakeInventory = field(default_factory=FakeInventory)
    orders: dict[str, order_pb2.Order] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[bytes, order_pb2.CreateOrderResponse]] = field(
        default_factory=dict
    )
    batches: list[int] = field(default_factory=list)
    decide_after_reads: int | None = None
    reads: int = 0

    async def CreateOrder(
        self, request: order_pb2.CreateOrderRequest, context: Context
    ) -> order_pb2.CreateOrderResponse:
        self.note("CreateOrder")
        return self._create(request)

    async def BatchCreateOrders(
        self, request: order_pb2.BatchCreateOrdersRequest, context: Context
    ) -> order_pb2.BatchCreateOrdersResponse:
        self.note("BatchCreateOrders")
        self.batches.append(len(request.orders))
        results = []
        for each in request.orders:
            try:
                created = self._create(validated(each))
                results.append(order_pb2.CreateOrderResult(response=created))
            except AppError as refusal:
                results.append(order_pb2.CreateOrderResult(error=status_of(refusal)))
        return order_pb2.BatchCreateOrdersResponse(results=results)

    def _create(self, request: order_pb2.CreateOrderRequest) -> order_pb2.CreateOrderResponse:
        key = (request.user_id, request.idempotency_key)
        print_ = b"".join(item.SerializeToString() for item in request.items)
        if request.idempotency_key and key in self.keys:
            known, answer = self.keys[key]
            if known != print_:
                raise KeyUsedOtherwise("this key was used for another order")
            again = order_pb2.CreateOrderResponse()
            again.CopyFrom(answer)
            again.replayed = True
            return again
        order = self._priced(request)
        if request.HasField("expected_total") and request.expected_total != order.total:
            raise TotalMismatch(
                "the total is another one", [Violation("expected_total", "is 19.99, not 20.00")]
            )
        self.orders[order.id] = order
        answer = order_pb2.CreateOrderResponse(id=order.id, message="order placed")
        answer.order.CopyFrom(order)
        if request.idempotency_key:
            self.keys[key] = (print_, answer)
        return answer

    def _priced(self, request: order_pb2.CreateOrderRequest) -> order_pb2.Order:
        order = order_pb2.Order(
            id=new_id(), user_id=request.user_id, status="PENDING", stock="AWAITING",
            created_at=NOW, updated_at=NOW, version=1,
        )  # fmt: skip
        order.total.currency = "EUR"
        for number, item in enumerate(request.items):
            product = self.inventory.products.get(item.product_id)
            if product is None:
                where = f"items[{number}].product_id"
                raise Invalid("no such product", [Violation(where, "is no product")])
            order.items.add(
                product_id=product.id, quantity=item.quantity, name=product.name,
                unit_price=product.price,
            )  # fmt: skip
            order.total.minor += product.price.minor * item.quantity
        return order

    async def GetOrder(
        self, request: order_pb2.GetOrderRequest, context: Context
    ) -> order_pb2.Order:
        self.note("GetOrder")
        return self._order(request.id)

    async def BatchGetOrders(
        self, request: order_pb2.BatchGetOrdersRequest, context: Context
    ) -> order_pb2.BatchGetOrdersResponse:
        self.note("BatchGetOrders")
        self.reads += 1
        if self.decide_after_reads is not None and self.reads >= self.decide_after_reads:
            for order in self.orders.values():
                order.stock = "RESERVED"
        results = []
        for each in request.orders:
            found = self.orders.get(each.id)
            mine = found is not None and each.user_id in ("", found.user_id)
            results.append(order_pb2.FoundOrder(order=found if mine else None))
        return order_pb2.BatchGetOrdersResponse(results=results)

    async def ListUserOrders(
        self, request: order_pb2.ListUserOrdersRequest, context: Context
    ) -> order_pb2.ListUserOrdersResponse:
        self.note("ListUserOrders")
        chosen = [o for o in self.orders.values() if request.user_id in ("", o.user_id)]
        chosen = [o for o in chosen if request.status in ("", o.status)]
        return order_pb2.ListUserOrdersResponse(orders=chosen[: request.limit])

    async def GetOrderHistory(
        self, request: order_pb2.GetOrderHistoryRequest, context: Context
    ) -> order_pb2.GetOrderHistoryResponse:
        self.note("GetOrderHistory")
        self._order(request.id)
        entry = order_pb2.HistoryEntry(at=NOW, by=str(caller()), action="created", detail="")
        return order_pb2.GetOrderHistoryResponse(entries=[entry])

    async def UpdateOrderStatus(
        self, request: order_pb2.UpdateOrderStatusRequest, context: Context
    ) -> order_pb2.UpdateOrderStatusResponse:
        self.note("UpdateOrderStatus")
        order = self._order(request.id)
        if order.status != "PENDING":
            raise Conflict(f"the order is {order.status}")
        order.status = request.status
        return order_pb2.UpdateOrderStatusResponse(id=order.id, message="changed", order=order)

    def _order(self, order_id: str) -> order_pb2.Order:
        found = self.orders.get(order_id)
        if found is None or not caller().owns(found.user_id):
            raise NotFound("there is no such order")
        return found

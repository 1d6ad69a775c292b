"""Hand-written services behind real sockets: what the gateway talks to in its own tests."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from mercato.kernel.errors import (
    AppError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Stale,
    Unauthenticated,
    Violation,
)
from mercato.kernel.identity import Caller, new_id
from mercato.pb import (
    inventory_pb2,
    inventory_pb2_grpc,
    mailer_pb2,
    mailer_pb2_grpc,
    money_pb2,
    order_pb2,
    order_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from mercato.platform.rpc import Server, caller, status_of, validated
from mercato.platform.tokens import Tokens

NOW = "2026-01-02T03:04:05.678Z"
ALL = frozenset(("customer", "admin", "service"))
Context = Any


class OutOfDate(Stale):
    pass


class KeyUsedOtherwise(Invalid):
    pass


class TotalMismatch(Conflict):
    pass


@dataclass
class Service:
    """What every fake has: the callers it saw, and a refusal that the next call is given."""

    seen: list[tuple[str, Caller]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def note(self, method: str) -> None:
        self.seen.append((method, caller()))
        if self.failures:
            raise self.failures.pop(0)


@dataclass
class FakeUsers(Service, user_pb2_grpc.UserServiceServicer):
    tokens: Tokens = field(default_factory=lambda: Tokens("s" * 32))
    profiles: dict[str, user_pb2.UserProfile] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)

    async def RegisterUser(
        self, request: user_pb2.UserRequest, context: Context
    ) -> user_pb2.UserResponse:
        self.note("RegisterUser")
        if any(known.email == request.email for known in self.profiles.values()):
            raise Conflict("the e-mail address is taken", [Violation("email", "is taken")])
        user_id = self.add(request.email, request.username or request.email.split("@")[0])
        self.passwords[user_id] = request.password
        return user_pb2.UserResponse(id=user_id, message="welcome")

    def add(self, email: str, username: str, role: str = "customer") -> str:
        user_id = new_id()
        self.profiles[user_id] = user_pb2.UserProfile(
            id=user_id, username=username, email=email, role=role, created_at=NOW, version=1
        )
        return user_id

    async def AuthenticateUser(
        self, request: user_pb2.AuthRequest, context: Context
    ) -> user_pb2.AuthResponse:
        self.note("AuthenticateUser")
        for user_id, profile in self.profiles.items():
            named = request.email == profile.email or request.username == profile.username
            if named and self.passwords.get(user_id) == request.password:
                token = self.tokens.access(user_id, profile.role)  # type: ignore[arg-type]
                return user_pb2.AuthResponse(token=token, message="signed in", expires_in=3600)
        raise Unauthenticated("wrong e-mail address, username or password")

    async def GetUserProfile(
        self, request: user_pb2.UserID, context: Context
    ) -> user_pb2.UserProfile:
        self.note("GetUserProfile")
        return self._profile(request.id)

    async def UpdateUserProfile(
        self, request: user_pb2.UpdateProfileRequest, context: Context
    ) -> user_pb2.UserProfile:
        self.note("UpdateUserProfile")
        profile = self._profile(request.id)
        if request.HasField("username"):
            profile.username = request.username
        if request.HasField("email"):
            profile.email = request.email
        return profile

    async def BatchGetUserProfiles(
        self, request: user_pb2.BatchGetUserProfilesRequest, context: Context
    ) -> user_pb2.BatchGetUserProfilesResponse:
        raise Forbidden("the gateway never asks for this")

    def _profile(self, user_id: str) -> user_pb2.UserProfile:
        if user_id not in self.profiles or not caller().owns(user_id):
            raise NotFound("there is no such user")
        return self.profiles[user_id]


@dataclass
class FakeInventory(Service, inventory_pb2_grpc.InventoryServiceServicer):
    products: dict[str, inventory_pb2.Product] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    async def CreateProduct(
        self, request: inventory_pb2.CreateProductRequest, context: Context
    ) -> inventory_pb2.Product:
        self.note("CreateProduct")
        if request.sku and any(p.sku == request.sku for p in self.products.values()):
            raise Conflict("the sku is taken", [Violation("sku", "is taken")])
        return self.add(
            name=request.name, description=request.description, category=request.category,
            stock=request.stock, sku=request.sku, price=request.price,
        )  # fmt: skip

    def add(self, **given: Any) -> inventory_pb2.Product:
        given.setdefault("price", money_pb2.Money(minor=1999, currency="EUR"))
        product = inventory_pb2.Product(
            id=new_id(), version=1, created_at=NOW, updated_at=NOW, **given
        )
        self.products[product.id] = product
        return product

    async def GetProduct(
        self, request: inventory_pb2.ProductID, context: Context
    ) -> inventory_pb2.Product:
        self.note("GetProduct")
        return self._product(request.id)

    async def UpdateProduct(
        self, request: inventory_pb2.UpdateProductRequest, context: Context
    ) -> inventory_pb2.Product:
        self.note("UpdateProduct")
        product = self._product(request.id)
        self._expect(product, request)
        for name in ("name", "description", "category", "stock", "sku"):
            if request.HasField(name):
                setattr(product, name, getattr(request, name))
        if request.HasField("price"):
            product.price.CopyFrom(request.price)
        product.version += 1
        return product

    async def DeleteProduct(
        self, request: inventory_pb2.DeleteProductRequest, context: Context
    ) -> inventory_pb2.DeleteProductResponse:
        self.note("DeleteProduct")
        self._expect(self._product(request.id), request)
        del self.products[request.id]
        return inventory_pb2.DeleteProductResponse(message="deleted")

    async def ListProducts(
        self, request: inventory_pb2.ListProductsRequest, context: Context
    ) -> inventory_pb2.ListProductsResponse:
        self.note("ListProducts")
        chosen = [p for p in self.products.values() if request.category in ("", p.category)]
        chosen = [p for p in chosen if request.q.lower() in p.name.lower()]
        first = (request.page - 1) * request.limit
        return inventory_pb2.ListProductsResponse(
            products=chosen[first : first + request.limit],
            page=request.page, limit=request.limit, total=len(chosen),
        )  # fmt: skip

    async def BatchGetProducts(
        self, request: inventory_pb2.BatchGetProductsRequest, context: Context
    ) -> inventory_pb2.BatchGetProductsResponse:
        self.note("BatchGetProducts")
        self.batches.append(len(request.ids))
        found = [self.products[each] for each in request.ids if each in self.products]
        return inventory_pb2.BatchGetProductsResponse(products=found)

    async def BatchUpsertProducts(
        self, request: inventory_pb2.BatchUpsertProductsRequest, context: Context
    ) -> inventory_pb2.BatchUpsertProductsResponse:
        raise Forbidden("the gateway never asks for this")

    async def AdjustStock(
        self, request: inventory_pb2.AdjustStockRequest, context: Context
    ) -> inventory_pb2.Product:
        self.note("AdjustStock")
        product = self._product(request.id)
        if product.stock + request.delta < 0:
            raise Conflict("there is not that much stock")
        product.stock += request.delta
        product.version += 1
        self.keys.append(request.idempotency_key)
        return product

    async def GetReservation(
        self, request: inventory_pb2.GetReservationRequest, context: Context
    ) -> inventory_pb2.Reservation:
        raise Forbidden("the gateway never asks for this")

    def _product(self, product_id: str) -> inventory_pb2.Product:
        if product_id not in self.products:
            raise NotFound("there is no such product")
        return self.products[product_id]

    def _expect(self, product: inventory_pb2.Product, request: Any) -> None:
        if request.HasField("expected_version") and request.expected_version != product.version:
            raise OutOfDate(f"the product is at version {product.version} by now")


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


@dataclass
class FakeMailer(Service, mailer_pb2_grpc.MailerServiceServicer):
    mails: list[mailer_pb2.SendEmailRequest] = field(default_factory=list)

    async def SendEmail(
        self, request: mailer_pb2.SendEmailRequest, context: Context
    ) -> mailer_pb2.SendEmailResponse:
        self.note("SendEmail")
        self.mails.append(request)
        return mailer_pb2.SendEmailResponse(status="sent", message="the mail is out")

    async def QueueMails(
        self, request: mailer_pb2.QueueMailsRequest, context: Context
    ) -> mailer_pb2.QueueMailsResponse:
        raise Forbidden("the gateway never asks for this")


@dataclass
class Services:
    """The four fakes, and where they listen."""

    users: FakeUsers
    inventory: FakeInventory
    orders: FakeOrders
    mailer: FakeMailer
    targets: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def services(tokens: Tokens) -> AsyncIterator[Services]:
    inventory = FakeInventory()
    fakes = Services(
        FakeUsers(tokens=tokens), inventory, FakeOrders(inventory=inventory), FakeMailer()
    )
    async with AsyncExitStack() as stack:
        for name, module, add, fake in (
            ("user", user_pb2, user_pb2_grpc.add_UserServiceServicer_to_server, fakes.users),
            ("inventory", inventory_pb2,
             inventory_pb2_grpc.add_InventoryServiceServicer_to_server, inventory),
            ("order", order_pb2, order_pb2_grpc.add_OrderServiceServicer_to_server, fakes.orders),
            ("mailer", mailer_pb2,
             mailer_pb2_grpc.add_MailerServiceServicer_to_server, fakes.mailer),
        ):  # fmt: skip
            (service,) = module.DESCRIPTOR.services_by_name.values()  # type: ignore[attr-defined]
            server = Server(service, tokens, {m.name: ALL for m in service.methods})
            add(fake, server.grpc)  # type: ignore[operator]
            port = await stack.enter_async_context(server.listen("127.0.0.1", 0))
            fakes.targets[f"{name}_service"] = f"127.0.0.1:{port}"
        yield fakes


__all__ = ["Awaitable", "Services", "grpc", "services"]

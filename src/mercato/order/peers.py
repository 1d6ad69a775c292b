"""What orders ask of the other services: prices, reservations, addresses, and mails to be sent."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence, Set
from typing import Final

import msgspec
import structlog

from mercato.events import ProductChanged
from mercato.kernel.money import Money
from mercato.order.model import Priced
from mercato.pb import inventory_pb2, mailer_pb2, money_pb2, order_pb2, user_pb2
from mercato.pb.inventory_pb2_grpc import InventoryServiceStub
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform.fold import Fold
from mercato.platform.memory import Memory
from mercato.platform.outbox import Row
from mercato.platform.rpc import Channels
from mercato.platform.rpc.refusals import Refused

PRICE_TTL_S: Final = 1.0  # a price may be this old when an order is placed
PRICES_MAX: Final = 10_000
MAILS_MAX: Final = 32  # a call; with 100 long lines each they still fit a message of 1 MiB

log = structlog.get_logger()


class InventoryCatalogue:
    """The catalogue, asked over gRPC and remembered for a moment."""

    def __init__(self, stub: InventoryServiceStub, channels: Channels) -> None:
        self._stub = stub
        self._channels = channels
        self._known: Memory[str, Priced] = Memory(size_max=PRICES_MAX, ttl_s=PRICE_TTL_S)
        self._asking: Fold[str, Priced | None] = Fold(self._ask, size_max=256, runs_max=2)

    async def products(self, ids: Set[str]) -> Mapping[str, Priced]:
        """Returns what is known of `ids`; the unknown and the retired are left out."""
        found = {product_id: self._known.get(product_id) for product_id in ids}
        missing = [product_id for product_id, priced in found.items() if priced is None]
        asked = await asyncio.gather(*map(self._asking, missing))
        found |= zip(missing, asked, strict=True)
        return {product_id: priced for product_id, priced in found.items() if priced is not None}

    def changed(self, payload: bytes) -> None:
        """Takes the fact `product.changed`: its price is asked for again."""
        with contextlib.suppress(msgspec.DecodeError):  # not told by inventory
            fact = msgspec.json.decode(payload, type=ProductChanged)
            self._known.forget(fact.product_id)

    async def _ask(self, ids: list[str]) -> list[Priced | Exception | None]:
        request = inventory_pb2.BatchGetProductsRequest(ids=sorted(set(ids)))
        answer = await self._channels.call(self._stub.BatchGetProducts, request)
        found = {
            p.id: Priced(p.name, Money(p.price.minor, p.price.currency)) for p in answer.products
        }
        for product_id, priced in found.items():
            self._known.put(product_id, priced)
        return [found.get(product_id) for product_id in ids]


class Post:
    """Hands an outbox's mail rows to the mailer: one look-up of addresses and one call a batch."""

    def __init__(
        self, users: UserServiceStub, mailer: MailerServiceStub, channels: Channels
    ) -> None:
        self._users = users
        self._mailer = mailer
        self._channels = channels

    async def __call__(self, rows: Sequence[Row]) -> set[str]:
        """Returns the ids of the rows that the mailer has now; none while somebody is away."""
        try:
            addresses = await self._addresses({row.payload["user_id"] for row in rows})
            mails = [
                _mail(row, addresses[row.payload["user_id"]])
                for row in rows
                if row.payload["user_id"] in addresses
            ]
            for start in range(0, len(mails), MAILS_MAX):
                request = mailer_pb2.QueueMailsRequest(mails=mails[start : start + MAILS_MAX])
                await self._channels.call(self._mailer.QueueMails, request)
        except Refused as refusal:
            fields = [violation.field for violation in refusal.violations]
            log.warning("mails wait", why=refusal.slug, fields=fields, count=len(rows))
            return set()
        return {row.id for row in rows}  # a user who is gone gets no mail

    async def _addresses(self, user_ids: Set[str]) -> Mapping[str, user_pb2.UserProfile]:
        request = user_pb2.BatchGetUserProfilesRequest(ids=sorted(user_ids))
        answer = await self._channels.call(self._users.BatchGetUserProfiles, request)
        return {profile.id: profile for profile in answer.profiles}


def _mail(row: Row, profile: user_pb2.UserProfile) -> mailer_pb2.Mail:
    about, currency = row.payload, row.payload["currency"]
    items = [
        order_pb2.OrderItem(
            product_id=item["product_id"],
            name=item["name"],
            quantity=item["quantity"],
            unit_price=money_pb2.Money(minor=item["unit_price"], currency=currency),
        )
        for item in about["items"]
    ]
    order = order_pb2.Order(
        id=about["order_id"], user_id=about["user_id"], items=items, reason=about["reason"],
        total=money_pb2.Money(minor=about["total"], currency=currency),
    )  # fmt: skip
    return mailer_pb2.Mail(
        id=row.id, template=row.subject, to_email=profile.email, username=profile.username,
        order=order,
    )  # fmt: skip

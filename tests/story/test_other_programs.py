"""Other programs on our bus and at our gRPC doors: they get what the contracts promise."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import nats
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from nats.js import JetStreamContext

from mercato.kernel.identity import new_id
from tests.story.shop import Shop, eventually


@pytest.fixture
async def stream(shop: Shop) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(shop.platform.environment["NATS_URL"])
    yield client.jetstream()
    await client.close()


async def test_a_foreign_order_created_takes_its_stock_once_however_often_it_is_told(
    shop: Shop, stream: JetStreamContext
) -> None:
    product, order_id = await shop.add_product(10), new_id()
    told = {"order_id": order_id, "items": [{"product_id": product, "quantity": 2}]}
    for _ in range(10):
        await stream.publish("order.created", json.dumps(told).encode())

    async def taken() -> bool:
        return await shop.stock(product) == 8

    await eventually(taken, 10, "the stock has not fallen")
    await asyncio.sleep(1)
    assert await shop.stock(product) == 8
    await shop.balanced(product)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"order_id": "x", "items": []}',
        b'{"order_id": 7, "items": [{"product_id": "a", "quantity": -1}]}',
        b"\xff\xfe",
    ],
)
async def test_poison_is_kept_as_a_dead_letter_and_holds_nobody_up(
    shop: Shop, stream: JetStreamContext, payload: bytes
) -> None:
    await stream.publish("order.created", payload, headers={"ce-id": new_id()})
    buyer, product = await shop.register(), await shop.add_product(1)
    order = (await shop.place(buyer, {product: 1}, wait_s=5)).json()
    assert order["stock"] == "RESERVED"
    text = payload.decode(errors="replace")
    kept = await shop.database.dead_letters.find_one({"consumer": "inventory", "text": text})
    assert kept is not None
    assert kept["reason"]


async def test_a_generic_client_with_reflection_sends_a_mail(shop: Shop) -> None:
    address = f"generic-{new_id()}@example.com"
    target = shop.platform.environment["MAILER_SERVICE"]
    answer = await asyncio.to_thread(_send_by_reflection, target, shop.admin, address)
    assert answer.status in ("sent", "queued")
    assert await shop.gets_mails(address, 1) == ["Hello"]


def _send_by_reflection(target: str, admin: dict[str, str], address: str) -> Any:
    """Knows nothing of the mailer but its name, as grpcurl would."""
    with grpc.insecure_channel(target) as channel:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName("mailer.MailerService").methods_by_name["SendEmail"]
        request = message_factory.GetMessageClass(method.input_type)(
            to_email=address, subject="Hello", html_body="<p>Hello from afar</p>"
        )
        call = channel.unary_unary(
            "/mailer.MailerService/SendEmail",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return call(request, timeout=5, metadata=(("authorization", admin["Authorization"]),))

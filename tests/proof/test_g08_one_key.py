"""G8: one key is one order, whichever gateway hears it, how often, and how long ago it was."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2
import pytest
from bson import ObjectId

from mercato.embedded import probes
from mercato.embedded.ports import any_free
from mercato.kernel.clock import now
from mercato.kernel.identity import new_id
from mercato.platform.settings import whole_environment
from tests.proof.figures import Crowd, Figures, sized
from tests.story.shop import Customer, Shop, eventually

POSTS = 100
AGO = timedelta(days=30)
pytestmark = pytest.mark.timeout(600)


@asynccontextmanager
async def another_gateway(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A second gateway process on the same services."""
    port = any_free()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "mercato", "serve", "gateway"),
        env={**whole_environment(), **shop.platform.environment, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: probes.http_ok(port, "/readyz"), 20, "no second gateway")
        limits = httpx2.Limits(max_connections=POSTS)
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def post(
    client: httpx2.AsyncClient, buyer: Customer, product: str, key: str, quantity: int = 1
) -> httpx2.Response:
    """Posts once, and again while the answer is that nobody can tell."""
    body = {"items": [{"product_id": product, "quantity": quantity}]}
    headers = buyer.headers | {"Idempotency-Key": key}
    while True:
        try:
            answer = await client.post("/api/orders", json=body, headers=headers)
        except httpx2.TransportError:
            continue
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(0.1)


async def test_a_hundred_posts_of_one_key_to_two_gateways_are_one_order(
    shop: Shop, figures: Figures
) -> None:
    rounds, crowd = sized(20, least=2), Crowd()
    buyer, somebody = await shop.register("first"), await shop.register("second")
    product = await shop.add_product(1_000)
    unlike, kills = 0, 0
    async with another_gateway(shop) as other:
        for number in range(rounds):
            key, gateways = new_id(), (shop.http, other)
            sending = [
                asyncio.ensure_future(post(gateways[n % 2], buyer, product, key))
                for n in range(POSTS)
            ]
            if number % 2:  # every second time, under fire
                shop.platform.kill("order")
                kills += 1
            answers = await asyncio.gather(*sending)
            unlike += len({answer.content for answer in answers}) - 1
            assert {answer.status_code for answer in answers} == {201}
            assert (await post(other, buyer, product, key, quantity=2)).status_code == 422
            theirs = await post(other, somebody, product, key)
            assert theirs.status_code == 201
            assert theirs.json()["id"] != answers[0].json()["id"]
            await asyncio.wait_for(shop.platform.wait_ready("order"), 30)
        orders = await _count(shop, buyer)
        old = await _from_long_ago(shop, buyer, product)
        again = await post(other, buyer, product, old[1])
    figures.tell(
        "G8", keys=rounds, posts=rounds * POSTS, gateways=2, kills_of_order_service=kills,
        orders=orders, bodies_that_differ=unlike, days_a_key_was_kept=AGO.days,
        cores_free_for_us=crowd.free_cores,
    )  # fmt: skip
    assert orders == rounds
    assert unlike == 0
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (old[0], "true")


async def _count(shop: Shop, buyer: Customer) -> int:
    return await shop.database.orders.count_documents({"user_id": ObjectId(buyer.id)})


async def _from_long_ago(shop: Shop, buyer: Customer, product: str) -> tuple[str, str]:
    """An order and its key, made to look 30 days old; nothing that expires may touch it."""
    key = new_id()
    order_id = (await post(shop.http, buyer, product, key)).json()["id"]
    await shop.settled([order_id], within_s=30)
    long_ago = {"created_at": now() - AGO, "updated_at": now() - AGO}
    await shop.database.orders.update_one({"_id": ObjectId(order_id)}, {"$set": long_ago})
    indexes = await shop.database.orders.index_information()
    assert not any("expireAfterSeconds" in index for index in indexes.values())
    return order_id, key

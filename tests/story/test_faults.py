"""Every server taken away while orders come in: nothing acknowledged is lost, nothing doubles."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.security.routes import ROUTES
from tests.security.test_matrix import a_scene
from tests.story.shop import Customer, Shop, eventually

ORDERS = 60


@asynccontextmanager
async def stopped(shop: Shop, part: str) -> AsyncIterator[None]:
    """`part` is away inside, and works again afterwards, whatever happens."""
    await shop.platform.stop(part)
    try:
        yield
    finally:
        await asyncio.wait_for(shop.platform.start(part), 30)


@pytest.fixture
async def buyer(shop: Shop) -> Customer:
    return await shop.register("fault")


async def place_many(shop: Shop, buyer: Customer, product: str) -> list[str]:
    orders = await asyncio.gather(
        *(shop.place_for_sure(buyer, {product: 1}) for _ in range(ORDERS))
    )
    return [order["id"] for order in orders]


async def all_reserved_once(shop: Shop, orders: list[str], product: str, within_s: float) -> None:
    assert await shop.settled(orders, within_s) == {("PENDING", "RESERVED"): len(set(orders))}
    await shop.balanced(product)


async def test_without_nats_orders_are_accepted_and_settle_after_its_return(
    shop: Shop, buyer: Customer
) -> None:
    product = await shop.add_product(ORDERS)
    async with stopped(shop, "nats"):
        orders = await place_many(shop, buyer, product)
        assert await shop.stock(product) == ORDERS
    await all_reserved_once(shop, orders, product, within_s=10)


async def test_the_loss_of_the_whole_jetstream_directory_loses_no_order(
    shop: Shop, buyer: Customer
) -> None:
    product = await shop.add_product(3 * ORDERS)
    before = await place_many(shop, buyer, product)
    in_flight = asyncio.ensure_future(place_many(shop, buyer, product))
    shop.platform.kill("nats", signal.SIGKILL)
    async with stopped(shop, "nats"):
        shop.platform.wipe("nats")
        meanwhile = await place_many(shop, buyer, product)
    orders = before + await in_flight + meanwhile
    await all_reserved_once(shop, orders, product, within_s=20)
    assert await shop.stock(product) == 0


async def test_without_redis_every_route_answers_as_ever(shop: Shop, buyer: Customer) -> None:
    async with stopped(shop, "redis"):
        people = buyer, await shop.register()
        common = await a_scene(shop, people)
        scenes = [await a_scene(shop, people) if "{" in r.path else common for r in ROUTES]
        orders = {scene.order for scene in scenes}
        assert await shop.settled([*orders], within_s=5) == {("PENDING", "RESERVED"): len(orders)}
        for route, scene in zip(ROUTES, scenes, strict=True):
            who = replace(scene, owner=await shop.register()) if route.alone else scene
            keeper = route.answers[1] == 403
            answer = await shop.http.request(
                route.method, who.path(route), json=route.body(who) if route.body else None,
                headers=shop.admin if keeper else who.owner.headers,
            )  # fmt: skip
            wanted = route.answers[3 if keeper else 1]
            assert answer.status_code == wanted, f"{route}: {answer.text}"


async def test_a_cache_that_returns_shows_nothing_older_than_what_it_missed(
    shop: Shop, buyer: Customer
) -> None:
    product = await shop.add_product(5)
    url = f"/api/inventory/{product}"
    await shop.http.get(url)
    async with stopped(shop, "redis"):
        await shop.http.patch(url, json={"name": "Renamed"}, headers=shop.admin)

    async def shows_the_new_name() -> bool:
        return bool((await shop.http.get(url)).json()["name"] == "Renamed")

    await eventually(shows_the_new_name, 2, "an old product is shown after the cache's return")


async def test_without_smtp_mails_wait_and_go_out_once_after_its_return(shop: Shop) -> None:
    product = await shop.add_product(5)
    async with stopped(shop, "mailbox"):
        buyer = await shop.register("patient")
        order = (await shop.place(buyer, {product: 1}, wait_s=5)).json()
        assert order["stock"] == "RESERVED"
        await asyncio.sleep(0.5)  # it is dialled twice meanwhile
    await shop.gets_mails(buyer.email, 2, within_s=40)


async def test_a_killed_mongod_costs_503s_and_no_acknowledged_order(
    shop: Shop, buyer: Customer
) -> None:
    product = await shop.add_product(10 * ORDERS)
    before = await place_many(shop, buyer, product)
    in_flight = asyncio.ensure_future(place_many(shop, buyer, product))
    await asyncio.sleep(0.05)
    async with stopped_hard(shop, "mongo"):
        refused = await shop.place(buyer, {product: 1})
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["Content-Type"].startswith("application/problem+json")
    orders = before + await in_flight + await place_many(shop, buyer, product)
    await all_reserved_once(shop, orders, product, within_s=30)


@asynccontextmanager
async def stopped_hard(shop: Shop, part: str) -> AsyncIterator[None]:
    """As `stopped`, by SIGKILL."""
    shop.platform.kill(part, signal.SIGKILL)
    async with stopped(shop, part):
        yield

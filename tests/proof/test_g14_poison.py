"""G14: what nobody can understand holds nobody up, is kept, and can be told again."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable
from typing import Any

import pytest
from bson import ObjectId

from mercato.kernel.identity import new_id
from mercato.platform.bus import Bus, Delivery, Letter
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.mongo import Store
from tests.backup.folders import mercato
from tests.proof.figures import Crowd, Figures, percentile, sized
from tests.story.shop import Shop, eventually

PER_S = 400.0
SLOWER_MAX = 2.0
SLACK_S = 0.25  # a p99 of tens of milliseconds may double by itself
LATER_GOOD = 100
SEED = 14
pytestmark = pytest.mark.timeout(600)


def good(product: str) -> tuple[str, bytes]:
    order_id = new_id()
    told = {"order_id": order_id, "items": [{"product_id": product, "quantity": 1}]}
    return order_id, json.dumps(told).encode()


def malformed(dice: random.Random, product: str) -> bytes:
    """Something that cannot be meant; no two are alike, so that each is a letter of its own."""
    item: dict[str, Any] = {"product_id": product, "quantity": 1}
    mark = new_id()
    shapes: list[Any] = [
        f"no json {mark}".encode(),
        json.dumps({"order_id": mark}).encode(),
        json.dumps({"order_id": mark, "items": []}).encode(),
        json.dumps({"order_id": mark, "items": [item | {"quantity": -1}]}).encode(),
        json.dumps({"order_id": mark, "items": [item | {"product_id": "lamp"}]}).encode(),
        json.dumps({"order_id": {"$ne": mark}, "items": [item]}).encode(),
        json.dumps([mark]).encode(),
        b"\xff\xfe" + mark.encode(),
        b"[" * 2_000 + mark.encode(),
    ]
    return bytes(dice.choice(shapes))


async def tell(shop: Shop, payloads: list[tuple[str, bytes]]) -> dict[str, float]:
    """Publishes at PER_S a second; returns when each order (not "") was told, by the wall clock."""
    told: dict[str, float] = {}
    async with Bus.open(shop.platform.environment["NATS_URL"], "proof") as bus:
        await bus.until_connected()
        began = time.monotonic()
        for number in range(0, len(payloads), 20):
            await asyncio.sleep(max(0.0, began + number / PER_S - time.monotonic()))
            some = payloads[number : number + 20]
            told |= {order_id: time.time() for order_id, _ in some if order_id}
            letters = [Letter("order.created", p, {"Nats-Msg-Id": new_id()}) for _, p in some]
            while letters:
                taken = await bus.publish(letters)
                letters = [each for each, t in zip(letters, taken, strict=True) if not t]
    return told


async def decided(shop: Shop, told: dict[str, float]) -> float:
    """Waits until each order is held; returns the p99 of the seconds from telling to holding."""
    ids = [ObjectId(order_id) for order_id in told]

    async def all_held() -> bool:
        query = {"_id": {"$in": ids}, "state": "HELD"}
        return await shop.database.reservations.count_documents(query) == len(ids)

    await eventually(all_held, 120, "a good order was held up")
    found = await shop.database.reservations.find({"_id": {"$in": ids}}).to_list()
    waits = [each["updated_at"].timestamp() - told[str(each["_id"])] for each in found]
    return percentile(waits, 0.99)


def mixed(
    dice: random.Random, goods: list[tuple[str, bytes]], bads: list[bytes]
) -> list[tuple[str, bytes]]:
    everything = goods + [("", bad) for bad in bads]
    dice.shuffle(everything)
    return everything


async def dead(shop: Shop, times: int) -> int:
    query = {"state": "dead", "times": times, "headers.proof": {"$exists": False}}
    return await shop.database.dead_letters.count_documents(query)


async def test_a_thousand_malformed_among_ten_thousand_hold_nobody_up_and_are_told_again(
    shop: Shop, figures: Figures
) -> None:
    orders, bad, dice = sized(10_000, least=400), sized(1_000, least=40), random.Random(SEED)
    product, crowd = await shop.add_product(1_000_000), Crowd()
    alone = await decided(shop, await tell(shop, [good(product) for _ in range(orders)]))
    goods, bads = (
        [good(product) for _ in range(orders)],
        [malformed(dice, product) for _ in range(bad)],
    )
    told = await tell(shop, mixed(dice, goods, bads))
    among = await decided(shop, told)
    await eventually(lambda: _is(dead(shop, 1), bad), 60, "not every poison is a dead letter")
    figures.tell(
        "G14", good=orders, malformed=bad, p99_alone_s=alone, p99_among_poison_s=among,
        p99_ratio=among / alone, dead_letters=await dead(shop, 1),
        cores_free_for_us=crowd.free_cores,
    )  # fmt: skip
    later = await parked_by_a_fault_of_ours(shop, product)
    code, _, err = await mercato("events", "replay", "--all", "--data-dir", shop.platform.data_dir)
    assert code == 0, err
    await eventually(lambda: _is(dead(shop, 2), bad), 60, "a replayed letter did not come back")
    await decided(shop, dict.fromkeys(later, 0.0))
    assert await shop.stock(product) == 1_000_000 - 2 * orders - LATER_GOOD
    await shop.balanced(product)
    figures.tell(
        "G14", replayed_and_dead_again=await dead(shop, 2), replayed_and_applied=LATER_GOOD
    )
    assert among <= SLOWER_MAX * alone + SLACK_S


async def _is(counting: Awaitable[int], wanted: int) -> bool:
    return await counting == wanted


async def parked_by_a_fault_of_ours(shop: Shop, product: str) -> list[str]:
    """Good orders that ended as dead letters, as a defect that is mended by now would have it."""
    goods = [good(product) for _ in range(LATER_GOOD)]
    async with Store.open(shop.platform.environment["MONGO_URI"], shop.database.name) as store:
        letters = DeadLetters(store["dead_letters"], "inventory")
        for _, payload in goods:
            await letters.keep(Delivery("order.created", payload, {"proof": "1"}, 5), "a defect")
    return [order_id for order_id, _ in goods]

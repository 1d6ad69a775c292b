"""G15: no fact is swallowed as a duplicate of another one about the same order."""

import asyncio

import pytest

from mercato.embedded.supervisor import Platform
from mercato.events import STREAM, Item, OrderCancelled, OrderCreated
from mercato.kernel.clock import now
from mercato.kernel.identity import new_id
from mercato.platform import outbox
from mercato.platform.bus import Bus
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.relay import Relay, to_bus
from tests.proof.figures import Figures, sized

AT_ONCE = 200
pytestmark = pytest.mark.timeout(300)


async def stored(bus: Bus) -> dict[str, int]:
    """How many messages the stream has of each subject."""
    info = await bus.stream.stream_info(STREAM, subjects_filter="order.>")
    return dict(info.state.subjects or {})


async def test_created_cancelled_and_told_again_are_three_messages_an_order(
    servers: Platform, cache: Cache, figures: Figures
) -> None:
    orders = [new_id() for _ in range(sized(1_000, least=50))]
    item = (Item(product_id=new_id(), quantity=1),)
    async with (
        Store.open(servers.environment["MONGO_URI"], "message_ids") as store,
        Bus.open(servers.environment["NATS_URL"], "proof") as bus,
    ):
        await store.client.drop_database("message_ids")
        await store.ensure({"rows": outbox.SHAPE})
        rows = Outbox(store["rows"])
        await bus.until_connected()
        assert await bus.ensure_stream()
        before = await stored(bus)
        relay = Relay(rows, cache, name="proof", kind="nats", dispatch=to_bus(bus))
        for start in range(0, len(orders), AT_ONCE):
            some = orders[start : start + AT_ONCE]
            facts = [OrderCreated(order_id=o, items=item) for o in some]
            cancels = [OrderCancelled(order_id=o, reason="proof") for o in some]
            told = [outbox.tell(fact) for fact in (*facts, *cancels)]
            await store.transaction(lambda session, told=told: rows.add(told, session))  # type: ignore[misc]
        await all_told(store, relay, 2 * len(orders), emission=1)
        created = {"subject": OrderCreated.subject}
        await store["rows"].update_many(created, {"$set": {"not_before": now()}})
        await all_told(store, relay, len(orders), emission=2)
        after = await stored(bus)
    grown = {subject: after[subject] - before.get(subject, 0) for subject in after}
    figures.tell("G15", orders=len(orders), stored=sum(grown.values()), **_plain(grown))
    assert grown == {"order.created": 2 * len(orders), "order.cancelled": len(orders)}


async def all_told(store: Store, relay: Relay, count: int, *, emission: int) -> None:
    """Lets the relay tell what is due until `count` rows have come to `emission`."""
    async with asyncio.timeout(60):
        while await store["rows"].count_documents({"emission": emission}) < count:
            if not await relay.tell_due():
                await asyncio.sleep(0.05)


def _plain(grown: dict[str, int]) -> dict[str, int]:
    return {subject.replace(".", "_"): count for subject, count in grown.items()}

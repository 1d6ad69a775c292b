"""The catalogue and its stock in a real MongoDB and Redis, without the service around them."""

import pytest

from mercato.inventory.repository import SHAPES, MongoProducts, MongoStock
from mercato.platform import dead_letters
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox


@pytest.fixture(scope="session")
async def outbox(store: Store) -> Outbox:
    await store.ensure(SHAPES | {"dead_letters": dead_letters.SHAPE})
    return Outbox(store["inventory_outbox"])


@pytest.fixture(scope="session")
def products(store: Store, cache: Cache, outbox: Outbox) -> MongoProducts:
    return MongoProducts(store, cache, outbox)


@pytest.fixture(scope="session")
def stock(store: Store, cache: Cache, outbox: Outbox) -> MongoStock:
    return MongoStock(store, cache, outbox)

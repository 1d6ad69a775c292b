"""Orders in a real MongoDB and Redis, without the service around them."""

import pytest

from mercato.order.expiry import expiring
from mercato.order.repository import SHAPES, MongoOrders
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store


@pytest.fixture(scope="session")
async def orders(store: Store, cache: Cache) -> MongoOrders:
    await store.ensure(SHAPES | {"orders": expiring(SHAPES["orders"])})
    return MongoOrders(store, cache)

"""A database of the audit's own, with books in it that balance."""

from collections.abc import AsyncIterator

import pytest

from mercato.embedded.supervisor import Platform
from mercato.inventory.repository import SHAPES as INVENTORY
from mercato.mailer.repository import SHAPES as MAILER
from mercato.order.repository import SHAPES as ORDER
from mercato.platform import dead_letters
from mercato.platform.mongo import Store
from mercato.user.repository import SHAPES as USER
from tests.audit.books import Audited, Keeper, put

SHAPES = {**INVENTORY, **ORDER, **USER, **MAILER, "dead_letters": dead_letters.SHAPE}
ORDERS = 8  # two of each end


@pytest.fixture(scope="session")
async def audit_store(servers: Platform) -> AsyncIterator[Store]:
    async with Store.open(servers.environment["MONGO_URI"], "audit") as store:
        await store.ensure(SHAPES)
        yield store


@pytest.fixture
async def audited(audit_store: Store) -> Audited:
    """Eight orders, settled an hour ago, and nothing wrong with them."""
    for name in SHAPES:
        await audit_store[name].delete_many({})
    keeper = Keeper()
    books = keeper.orders(ORDERS)
    await put(audit_store, books)
    await put(audit_store, keeper.catalogue())
    return Audited(audit_store, keeper, [order["_id"] for order in books["orders"]])

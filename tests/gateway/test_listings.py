"""Lists from memory: one call for many, and never older than what has changed since."""

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest

from mercato.gateway.listings import LIST_BYTES_MAX, LISTS_MAX, Listed, Listings
from mercato.gateway.product_shapes import ProductListing
from mercato.kernel import clock
from mercato.kernel.errors import Unavailable
from tests.gateway.conftest import Shop

ALL = ProductListing()


@dataclass
class Source:
    """Lists that say how often they were asked for; `hold` makes one wait."""

    asked: int = 0
    size: int = 10
    hold: asyncio.Event | None = None
    failure: Exception | None = None
    shown: frozenset[str] = frozenset(["mug"])
    wanted: list[ProductListing] = field(default_factory=list)

    async def __call__(self, wanted: ProductListing) -> Listed:
        self.asked += 1
        self.wanted.append(wanted)
        said = b"%d" % self.asked
        if self.hold:
            await self.hold.wait()
        if self.failure:
            raise self.failure
        return Listed(said.rjust(self.size), self.shown)


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def time(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


async def test_many_at_once_are_one_call_and_the_next_are_none() -> None:
    source = Source()
    lists = Listings(source)
    first = await asyncio.gather(*(lists.page(ALL) for _ in range(10)))
    assert source.asked <= 2  # the first goes at once, the others together
    assert await lists.page(ALL) in first
    await lists.page(ProductListing(page=2))
    assert source.wanted[-1].page == 2


@pytest.mark.parametrize("product", ["mug", "cup"])
async def test_a_list_ends_when_what_it_shows_has_moved(product: str) -> None:
    source, hands = Source(), Hands()
    with clock.driven_by(hands):
        lists = Listings(source)
        await lists.page(ALL)
        hands.at += 0.1
        lists.moved([product])
        assert (lists.known(ALL) is None) == (product == "mug")
        hands.at += 0.1
        await lists.page(ALL)
        assert lists.known(ALL)


async def test_a_list_by_stock_ends_with_any_move_and_any_list_with_any_change() -> None:
    source, hands, by_stock = Source(), Hands(), ProductListing(sort="-stock")
    with clock.driven_by(hands):
        lists = Listings(source)
        await lists.page(by_stock)
        await lists.page(ALL)
        hands.at += 0.1
        lists.moved(["cup"])
        assert lists.known(by_stock) is None
        assert lists.known(ALL)
        lists.changed()
        assert lists.known(ALL) is None


async def test_a_list_that_was_under_way_meanwhile_is_not_remembered() -> None:
    hands = Hands()
    with clock.driven_by(hands):
        for change in (Listings.changed, lambda lists: lists.moved(["mug"])):
            source = Source(hold=asyncio.Event())
            lists = Listings(source)
            asking = asyncio.ensure_future(lists.page(ALL))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            hands.at += 0.1
            change(lists)
            assert source.hold
            source.hold.set()
            await asking
            assert lists.known(ALL) is None


async def test_a_list_is_a_second_old_at_most() -> None:
    source, hands = Source(), Hands()
    with clock.driven_by(hands):
        lists = Listings(source)
        await lists.page(ALL)
        hands.at += 0.9
        assert lists.known(ALL)
        hands.at += 0.2
        assert lists.known(ALL) is None
        hands.at += 60
        lists.moved(["mug"])
        hands.at += 60
        lists.moved(["cup"])
        assert list(lists._moves) == ["cup"]


async def test_memory_is_bounded_by_number_and_by_size() -> None:
    source = Source(size=LIST_BYTES_MAX + 1)
    lists = Listings(source)
    await lists.page(ALL)
    assert lists.known(ALL) is None
    source.size = 10
    for number in range(1, LISTS_MAX + 2):
        await lists.page(ProductListing(page=number))
    assert lists.known(ProductListing(page=1)) is None
    assert lists.known(ProductListing(page=2))


async def test_a_refusal_is_everybodys_and_is_not_remembered() -> None:
    source = Source(failure=Unavailable("away"))
    lists = Listings(source)
    with pytest.raises(Unavailable):
        await lists.page(ALL)
    source.failure = None
    await lists.page(ALL)
    assert lists.known(ALL)


async def test_who_writes_sees_it_in_the_list(shop: Shop) -> None:
    async def names() -> list[str]:
        listed = (await shop.nobody.get("/api/inventory?category=listed")).json()
        return [product["name"] for product in listed["products"]]

    assert await names() == []
    made = await shop.admin.post(
        "/api/inventory", json={"name": "Mug", "price": 1, "category": "listed"}
    )
    assert await names() == ["Mug"]
    url = f"/api/inventory/{made.json()['id']}"
    await shop.admin.patch(url, json={"name": "Cup"})
    assert await names() == ["Cup"]
    await shop.admin.delete(url)
    assert await names() == []
    assert msgspec.json.decode((await shop.nobody.get("/api/inventory")).content)

"""The catalogue in MongoDB: unique skus, versions, pages, restocking once, and leaving."""

import asyncio

import pytest
from bson import ObjectId, decode
from hypothesis import given
from hypothesis import strategies as st

from mercato.inventory.model import (
    Edit,
    InsufficientStock,
    Product,
    ProductChangedMeanwhile,
    ProductNotFound,
    SkuTaken,
)
from mercato.inventory.repository import MongoProducts, MongoStock, check_currency
from mercato.inventory.repository.products import _every_word
from mercato.inventory.usecase import Catalogue
from mercato.kernel.clock import now
from mercato.kernel.identity import new_id
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.settings import SettingsError
from tests.inventory.goods import NOW, PRICE, balanced, created, ledger, on_hand, product


@pytest.fixture
def catalogue(products: MongoProducts) -> Catalogue:
    return Catalogue(products, now)


def edit(**fields: str | int) -> Edit:
    return Edit(price=PRICE, **({"name": "Lamp"} | fields))  # type: ignore[arg-type]


async def listed(
    catalogue: Catalogue, category: str = "", text: str = "", sort: str = "", page: int = 1,
    limit: int = 100,
) -> list[str]:  # fmt: skip
    found, *_ = await catalogue.page(
        category=category, text=text, sort=sort, page=page, limit=limit
    )
    return [each.name for each in found]


async def test_a_product_comes_back_as_it_was_made(catalogue: Catalogue) -> None:
    made = await catalogue.create(edit(sku=new_id(), stock=3, category="Light"), "admin:a")
    for _ in range(2):  # from the database, and then from the cache
        assert await catalogue.get(made.id) == made


async def test_a_sku_is_one_products_own(catalogue: Catalogue) -> None:
    sku = new_id()
    racing = (catalogue.create(edit(sku=sku), "admin:a") for _ in range(10))
    results = await asyncio.gather(*racing, return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["Product"] + ["SkuTaken"] * 9
    other = await catalogue.create(edit(), "admin:a")
    with pytest.raises(SkuTaken) as refused:
        await catalogue.edit(other.id, Edit(sku=sku), "admin:a", None)
    assert [v.field for v in refused.value.violations] == ["sku"]


async def test_products_without_a_sku_are_as_many_as_one_likes(catalogue: Catalogue) -> None:
    first, second = [await catalogue.create(edit(sku=""), "admin:a") for _ in range(2)]
    assert first.id != second.id


async def test_an_edit_of_an_old_version_is_refused(catalogue: Catalogue) -> None:
    made = await catalogue.create(edit(), "admin:a")
    edits = (catalogue.edit(made.id, Edit(name=f"Lamp {i}"), "admin:a", 1) for i in range(8))
    results = await asyncio.gather(*edits, return_exceptions=True)
    refused = [each for each in results if isinstance(each, ProductChangedMeanwhile)]
    assert len(refused) == 7
    assert (await catalogue.get(made.id)).version == 2
    with pytest.raises(ProductChangedMeanwhile):
        await catalogue.remove(made.id, "admin:a", 1)


async def test_edits_without_a_version_all_happen(catalogue: Catalogue, store: Store) -> None:
    made = await catalogue.create(edit(stock=1), "admin:a")
    await asyncio.gather(
        *(catalogue.edit(made.id, Edit(stock=i), "admin:a", None) for i in range(2, 10))
    )
    assert (await catalogue.get(made.id)).version == 9
    assert await balanced(store, made.id)


async def test_a_key_restocks_once_however_often(catalogue: Catalogue, store: Store) -> None:
    made = await catalogue.create(edit(stock=5), "admin:a")
    await asyncio.gather(
        *(catalogue.adjust(made.id, 7, "admin:a", "found", "k") for _ in range(20))
    )
    assert await on_hand(store, made.id) == 12
    await asyncio.gather(*(catalogue.adjust(made.id, 1, "admin:a", "found", "") for _ in range(10)))
    assert (await catalogue.get(made.id)).stock == 22
    assert await balanced(store, made.id)


async def test_a_key_that_looks_like_a_version_is_still_a_key(catalogue: Catalogue) -> None:
    made = await catalogue.create(edit(stock=5), "admin:a")
    await catalogue.edit(made.id, Edit(stock=6), "admin:a", None)
    assert (await catalogue.adjust(made.id, 1, "admin:a", "found", "v2")).stock == 7
    await catalogue.adjust(made.id, 1, "admin:a", "found", "v5")
    assert (await catalogue.edit(made.id, Edit(stock=1), "admin:a", None)).stock == 1


async def test_more_than_there_is_cannot_be_taken_away(catalogue: Catalogue, store: Store) -> None:
    made = await catalogue.create(edit(stock=5), "admin:a")
    results = await asyncio.gather(
        *(catalogue.adjust(made.id, -2, "admin:a", "broken", "") for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, InsufficientStock) for each in results) == 2
    assert await on_hand(store, made.id) == 1


async def test_what_never_sold_is_erased(catalogue: Catalogue, store: Store) -> None:
    sku = new_id()
    made = await catalogue.create(edit(sku=sku, stock=4), "admin:a")
    await catalogue.get(made.id)  # into the cache
    assert await catalogue.remove(made.id, "admin:a", None)
    with pytest.raises(ProductNotFound):
        await catalogue.get(made.id)
    assert await store["products"].find_one({"_id": ObjectId(made.id)}) is None
    assert sum(line["delta"] for line in await ledger(store, made.id)) == 0
    assert (await catalogue.create(edit(sku=sku), "admin:a")).sku == sku


async def test_what_was_ordered_is_retired(
    catalogue: Catalogue, stock: MongoStock, store: Store
) -> None:
    sku = new_id()
    made = await catalogue.create(edit(sku=sku, stock=4), "admin:a")
    await stock.settle([created((made.id, 1))])
    assert not await catalogue.remove(made.id, "admin:a", None)
    for attempt in (catalogue.get(made.id), catalogue.edit(made.id, edit(), "admin:a", None),
                    catalogue.adjust(made.id, 1, "admin:a", "r", ""),
                    catalogue.remove(made.id, "admin:a", None)):  # fmt: skip
        with pytest.raises(ProductNotFound):
            await attempt
    assert await on_hand(store, made.id) == 3
    assert (await catalogue.create(edit(sku=sku), "admin:a")).sku == sku
    late = created((made.id, 1))
    await stock.settle([late])
    found = await stock.reservation(late.order_id)
    assert found is not None
    assert found.reason == "unknown_product"


async def test_an_upsert_creates_or_changes_by_sku(catalogue: Catalogue, store: Store) -> None:
    there, new = new_id(), new_id()
    made = await catalogue.create(edit(sku=there, stock=5, description="old"), "admin:a")
    edits = [edit(sku=there, stock=9), edit(sku=new, stock=1), edit(), edit(sku=new)]
    results = await catalogue.upsert(edits, "admin:a")
    assert results[0] == (made.id, False)
    assert isinstance(results[1], tuple)
    assert results[1][1]
    assert [type(each).__name__ for each in results[2:]] == ["Invalid", "Invalid"]
    changed = await catalogue.get(made.id)
    assert (changed.stock, changed.description) == (9, "old")
    assert await balanced(store, made.id, results[1][0])


async def test_racing_upserts_of_the_same_skus_all_go_through(
    store: Store, cache: Cache, outbox: Outbox
) -> None:
    copies = [Catalogue(MongoProducts(store, cache, outbox), now) for _ in range(4)]
    for _ in range(5):
        skus = [new_id() for _ in range(20)]
        edits = [edit(sku=sku, stock=2) for sku in skus]
        racing = [copy.upsert(edits, "admin:a") for copy in copies]
        racing += [copies[0].create(edit(sku=skus[0]), "admin:a")]  # type: ignore[list-item]
        *results, _ = await asyncio.gather(*racing, return_exceptions=True)
        assert not [each for each in results if isinstance(each, BaseException)]
        assert await store["products"].count_documents({"sku": {"$in": skus}}) == 20


async def test_a_search_finds_what_has_every_word(catalogue: Catalogue) -> None:
    shelf = new_id()
    for name in ("White Hanging Heart T-Light Holder", "White Metal Lantern", "The Red Heart"):
        await catalogue.create(edit(name=name, category=shelf), "admin:a")
    assert await listed(catalogue, shelf, "white heart") == ["White Hanging Heart T-Light Holder"]
    assert len(await listed(catalogue, shelf, "HEART")) == 2
    assert await listed(catalogue, shelf, "t-light") == ["White Hanging Heart T-Light Holder"]
    assert len(await listed(catalogue, shelf, "hearts")) == 0
    assert await listed(catalogue, shelf, "the red heart") == ["The Red Heart"]
    assert await listed(catalogue, shelf, "white -metal") == []
    assert await listed(catalogue, shelf, 'white "metal') == ["White Metal Lantern"]
    assert await listed(catalogue, shelf, "blue") == []


@given(st.text(max_size=200))
def test_a_search_is_words_in_quotes_whatever_is_typed(text: str) -> None:
    query = _every_word(text)
    assert query.count('"') == 2 * len(text.replace('"', " ").replace("\\", " ").split())


@pytest.mark.parametrize("text", ['"', "\\", "-", "$where", "\0", "a" * 200, "()*[", "ß", "\u202e"])
async def test_a_strange_search_finds_nothing_and_breaks_nothing(
    catalogue: Catalogue, text: str
) -> None:
    shelf = new_id()
    await catalogue.create(edit(name="Lamp", category=shelf), "admin:a")
    assert await listed(catalogue, shelf, text.strip()) in ([], ["Lamp"])


@pytest.mark.parametrize(
    "sort", ["", "name", "-name", "price", "-stock", "created_at", "-updated_at"]
)
async def test_pages_of_equal_products_are_complete_and_without_duplicates(
    catalogue: Catalogue, products: MongoProducts, sort: str
) -> None:
    shelf = new_id()
    made = [product(name="Same", category=shelf) for _ in range(11)]
    for each in made:
        await products.add(each)
    ids, total = [], 0
    for number in range(1, 6):
        found, page, limit, total = await catalogue.page(
            category=shelf, text="", sort=sort, page=number, limit=3
        )
        assert (page, limit) == (number, 3)
        ids += [each.id for each in found]
    assert sorted(ids) == sorted(each.id for each in made)
    assert total == 11


async def test_lists_are_sorted_as_asked(catalogue: Catalogue) -> None:
    shelf = new_id()
    for name, stock in (("B", 3), ("A", 1), ("C", 2)):
        await catalogue.create(edit(name=name, stock=stock, category=shelf), "admin:a")
    orders = {"name": "ABC", "-name": "CBA", "stock": "ACB", "-stock": "BCA", "": "CAB",
              "created_at": "BAC", "-created_at": "CAB"}  # fmt: skip
    for sort, names in orders.items():
        assert "".join(await listed(catalogue, shelf, sort=sort)) == names, sort


async def test_lists_read_their_index(store: Store, products: MongoProducts) -> None:
    for sort in ([("_id", -1)], [("name", 1), ("_id", -1)], [("price", -1), ("_id", 1)]):
        plan = await store["products"].find({"retired": False}).sort(sort).explain()
        assert "COLLSCAN" not in str(decode(plan["queryPlanner"].raw)["winningPlan"])
        assert "'stage': 'SORT'" not in str(decode(plan["queryPlanner"].raw)["winningPlan"])


async def test_every_change_is_told(products: MongoProducts, store: Store) -> None:
    made = product()
    await products.add(made)
    await products.update(made.id, lambda p: p.edit(Edit(name="N"), "a", NOW, expected_version=1))
    await products.remove(made.id, None, "a")
    rows = await store["inventory_outbox"].find({"payload.product_id": made.id}).to_list()
    assert [row["payload"]["version"] for row in rows] == [1, 2, 3]
    assert isinstance(made, Product)


async def test_a_catalogue_in_another_currency_is_refused(store: Store) -> None:
    foreign = {"_id": ObjectId(), "name": "Fan", "stock": 0, "price": 1, "version": 1}
    await store["products"].insert_one(foreign | {"currency": "JPY", "retired": True})
    with pytest.raises(SettingsError, match="JPY"):
        await check_currency(store, PRICE.currency)
    await store["products"].delete_one({"_id": foreign["_id"]})

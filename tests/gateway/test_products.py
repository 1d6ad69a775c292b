"""Products: ETags, the memory of a second, and the two ways to change one."""

import asyncio

import pytest

from mercato.kernel.identity import new_id
from tests.gateway.conftest import Shop
from tests.gateway.test_refusals import problem


async def test_an_unchanged_product_is_304(shop: Shop) -> None:
    url = f"/api/inventory/{shop.services.inventory.add(name='Mug').id}"
    tag = (await shop.nobody.get(url)).headers["etag"]
    assert tag == '"1"'
    for named in (tag, "*", f'"9", {tag}', f"W/{tag}"):
        answer = await shop.nobody.get(url, headers={"if-none-match": named})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    assert (await shop.nobody.get(url, headers={"if-none-match": '"9"'})).status_code == 200
    lines = [("if-none-match", '"9"'), ("if-none-match", tag)]  # two lines are one list
    assert (await shop.nobody.get(url, headers=lines)).status_code == 304


async def test_only_the_version_that_was_read_is_changed(shop: Shop) -> None:
    url = f"/api/inventory/{shop.services.inventory.add(name='Mug').id}"
    stale = {"if-match": '"7"'}
    for method, body in (("PATCH", {}), ("PUT", {"name": "A", "price": 1}), ("DELETE", None)):
        problem(await shop.admin.request(method, url, json=body, headers=stale), 412)
    for tag in ('"abc"', 'W/"1"', '"99999999999999999999"'):
        problem(await shop.admin.patch(url, json={}, headers={"if-match": tag}), 412)
    for tag in ("", "abc", "1", '"1', "**"):
        for method, body in (("PATCH", {}), ("PUT", {"name": "A", "price": 1}), ("DELETE", None)):
            answer = await shop.admin.request(method, url, json=body, headers={"if-match": tag})
            assert set(problem(answer, 422)) == {"/header/if-match"}
    fresh = await shop.admin.patch(url, json={"stock": 4}, headers={"if-match": '"1"'})
    assert (fresh.status_code, fresh.headers["etag"]) == (200, '"2"')
    assert (await shop.admin.delete(url, headers={"if-match": "*"})).status_code == 200


async def test_one_reads_what_one_wrote(shop: Shop) -> None:
    url = f"/api/inventory/{shop.services.inventory.add(name='Mug', stock=1).id}"
    assert (await shop.nobody.get(url)).json()["stock"] == 1
    await shop.admin.post(f"{url}/stock", json={"delta": 5, "reason": "delivery"})
    assert (await shop.nobody.get(url)).json()["stock"] == 6
    await shop.admin.patch(url, json={"name": "Cup"})
    assert (await shop.nobody.get(url)).json()["name"] == "Cup"
    assert (await shop.admin.delete(url)).status_code == 200
    problem(await shop.nobody.get(url), 404, "not-found")


async def test_a_put_empties_what_it_leaves_out_but_the_stock(shop: Shop) -> None:
    mug = shop.services.inventory.add(name="Mug", category="k", sku="M1", stock=5)
    url = f"/api/inventory/{mug.id}"
    told = (await shop.admin.put(url, json={"name": "Cup", "price": "3.50"})).json()
    assert (told["name"], told["category"], told["price"], told["stock"]) == ("Cup", "", 3.5, 5)
    assert "sku" not in told
    assert set(problem(await shop.admin.put(url, json={"stock": 1}), 422)) == {"/name", "/price"}
    told = (await shop.admin.put(url, json={"name": "Cup", "price": 1, "stock": 0})).json()
    assert told["stock"] == 0


async def test_a_patch_leaves_alone_what_it_does_not_name(shop: Shop) -> None:
    mug = shop.services.inventory.add(name="Mug", category="k", stock=5)
    told = (await shop.admin.patch(f"/api/inventory/{mug.id}", json={"stock": 0})).json()
    assert (told["name"], told["category"], told["price"], told["stock"]) == ("Mug", "k", 19.99, 0)


async def test_ids_may_be_written_in_capitals(shop: Shop) -> None:
    mug = shop.services.inventory.add(name="Mug")
    answer = await shop.nobody.get(f"/api/inventory/{mug.id.upper()}")
    assert answer.json()["id"] == mug.id


async def test_a_change_of_stock_carries_its_key_and_is_never_nothing(shop: Shop) -> None:
    url = f"/api/inventory/{shop.services.inventory.add(name='Mug').id}/stock"
    header = {"idempotency-key": "delivery 4711"}
    assert (await shop.admin.post(url, json={"delta": 1, "reason": "d"}, headers=header)).is_success
    assert shop.services.inventory.keys[-1] == "delivery 4711"
    empty = await shop.admin.post(
        url, json={"delta": 1, "reason": "d"}, headers={"idempotency-key": ""}
    )
    assert set(problem(empty, 422)) == {"/header/idempotency-key"}
    for delta in (0, 1_000_000_001, -1_000_000_001, 1.5, "1", None):
        answer = await shop.admin.post(url, json={"delta": delta, "reason": ""})
        assert set(problem(answer, 422)) == {"/delta", "/reason"}


async def test_reads_at_once_are_one_call(shop: Shop) -> None:
    ids = [shop.services.inventory.add(name=f"Mug {n}").id for n in range(30)]
    answers = await asyncio.gather(*(shop.nobody.get(f"/api/inventory/{each}") for each in ids))
    assert [each.json()["id"] for each in answers] == ids
    assert len(shop.services.inventory.batches) < 15
    before = len(shop.services.inventory.batches)
    await shop.nobody.get(f"/api/inventory/{ids[0]}")  # from memory
    assert len(shop.services.inventory.batches) == before


async def test_the_memory_is_a_second_old_at_most(shop: Shop) -> None:
    mug = shop.services.inventory.add(name="Mug", stock=9)
    url = f"/api/inventory/{mug.id}"
    await shop.nobody.get(url)
    mug.stock, mug.version = 8, 2
    await asyncio.sleep(1.1)
    assert (await shop.nobody.get(url)).json()["stock"] == 8


async def test_a_list_is_never_null_and_tells_its_page(shop: Shop) -> None:
    told = (await shop.nobody.get("/api/inventory?category=nothing&page=2&limit=7&q=")).json()
    assert told == {"products": [], "page": 2, "limit": 7, "total": 0}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_an_unknown_product_is_404(shop: Shop, method: str) -> None:
    body = None if method in ("GET", "DELETE") else {"name": "A", "price": 1}
    problem(await shop.admin.request(method, f"/api/inventory/{new_id()}", json=body), 404)

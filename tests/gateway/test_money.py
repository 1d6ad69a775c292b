"""Money goes in and out exactly, or not at all."""

import json

import pytest

from tests.gateway.conftest import Shop
from tests.gateway.test_refusals import problem


@pytest.mark.parametrize(
    ("given", "minor", "out"),
    [
        ("0.3", 30, "0.30"),
        ("0.1", 10, "0.10"),
        ("19.99", 1999, "19.99"),
        ("19.990", 1999, "19.99"),
        ('"19.99"', 1999, "19.99"),
        ('"19.990"', 1999, "19.99"),
        ("1e2", 10000, "100.00"),
        ("1.005e3", 100500, "1005.00"),
        ("0", 0, "0.00"),
        ("-0.0", 0, "0.00"),
        ("100000000", 10_000_000_000, "100000000.00"),
        ("4503599.37", 450359937, "4503599.37"),
    ],
)
async def test_an_amount_is_kept_to_the_digit(shop: Shop, given: str, minor: int, out: str) -> None:
    answer = await _create(shop, given)
    assert answer.status_code == 201, answer.text
    stored = shop.services.inventory.products[answer.json()["id"]]
    assert (stored.price.minor, stored.price.currency) == (minor, "EUR")
    assert f'"price":{out},' in answer.text


@pytest.mark.parametrize(
    "given",
    [
        "19.999", '"0.001"', "-1", "-0.01", '"-1"', "100000000.01", "1e400", "1e-400", "9" * 5000,
        '"NaN"', '"Infinity"', '"1_000"', '" 1"', '"1,5"', '"\\u0661"', '""', '"0x10"', "true",
        "null", "[]", "{}", "0.1" + "0" * 40 + "1", '"' + "1" * 200_000 + '"',
    ],
)  # fmt: skip
async def test_what_is_no_exact_amount_is_refused(shop: Shop, given: str) -> None:
    assert list(problem(await _create(shop, given), 422)) == ["/price"]


async def test_a_sum_is_the_sum(shop: Shop) -> None:
    dime = (await _create(shop, "0.1")).json()["id"]
    nickel = (await _create(shop, "0.2")).json()["id"]
    items = [{"product_id": dime, "quantity": 1}, {"product_id": nickel, "quantity": 1}]
    for total in ("0.3", '"0.30"'):
        body = f'{{"items": {json.dumps(items)}, "total": {total}}}'
        answer = await shop.ada.post(
            "/api/orders", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 201, answer.text
        assert '"total":0.30,' in answer.text


async def _create(shop: Shop, price: str):  # type: ignore[no-untyped-def]
    body = f'{{"name": "Mug", "price": {price}}}'
    return await shop.admin.post(
        "/api/inventory", content=body, headers={"content-type": "application/json"}
    )

"""The main job on real input: a retailer's catalogue imported, and every invoice ordered again."""

import asyncio
import csv
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.command import mercato
from tests.story.shop import Customer, Shop

STOCK = 10_000
ROOT = Path(__file__).parents[2]
OURS = ROOT / "tests" / "data" / "retail.csv"
# 1,000 order lines of a UK online retailer: UCI Online Retail, CC BY 4.0; used where it is there.
REAL = ROOT.parent / "shared" / "data" / "online_retail_sample.csv"
FILES = [path for path in (OURS, REAL) if path.exists()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_a_retailers_invoices_are_ordered_again_to_the_last_unit(
    shop: Shop, path: Path
) -> None:
    rows = _rows(path)
    skus = {row["StockCode"] for row in rows if row["Description"]}
    done = await asyncio.to_thread(_import_catalogue, shop, path)
    nameless = [number for number, row in enumerate(rows, 2) if not row["Description"]]
    assert [error["line"] for error in done["errors"]] == nameless
    assert done["created"] + done["updated"] == len(skus)
    products = await _products(shop, skus)
    assert _stock(products) == dict.fromkeys(skus, STOCK)
    invoices = _invoices(rows, skus)
    customers = await _customers(shop, invoices)

    async def order(invoice: str) -> tuple[Customer, str]:
        buyer, lines = customers[invoices[invoice][0]], invoices[invoice][1]
        items = {str(products[sku]["_id"]): quantity for sku, quantity in lines.items()}
        return buyer, (await shop.place_for_sure(buyer, items))["id"]

    placed = await asyncio.gather(*map(order, invoices))
    states = await shop.settled([order_id for _, order_id in placed], within_s=30)
    assert states == {("PENDING", "RESERVED"): len(invoices)}
    sold: Counter[str] = Counter()
    for _, lines in invoices.values():
        sold.update(lines)
    assert _stock(await _products(shop, skus)) == {sku: STOCK - sold[sku] for sku in skus}
    orders_of = Counter(buyer.email for buyer, _ in placed)
    for email, count in orders_of.items():
        await shop.gets_mails(email, 1 + count, within_s=60)  # the welcome, and one an order


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _import_catalogue(shop: Shop, path: Path) -> dict[str, Any]:
    columns = ("sku=StockCode", "name=Description", "price=UnitPrice")
    mapping = [part for column in columns for part in ("--column", column)]
    where = ("--data-dir", str(shop.platform.data_dir), "--json", "--stock", str(STOCK))
    done = mercato("import", "products", str(path), *mapping, *where)
    assert done.returncode == 1, done.stderr  # each file has a bad line, and it is reported
    return dict(json.loads(done.stdout))


async def _products(shop: Shop, skus: set[str]) -> dict[str, dict[str, Any]]:
    """Returns every product of these by its sku."""
    found = await shop.database.products.find({"sku": {"$in": [*skus]}}).to_list()
    return {product["sku"]: product for product in found}


def _stock(products: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {sku: product["stock"] for sku, product in products.items()}


def _invoices(rows: list[dict[str, str]], skus: set[str]) -> dict[str, tuple[str, dict[str, int]]]:
    """Returns each sale's customer and its quantities by sku; credit notes are left out."""
    invoices: dict[str, tuple[str, dict[str, int]]] = {}
    lines_of: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        lines_of[row["InvoiceNo"]].append(row)
    for invoice, lines in lines_of.items():
        quantities: Counter[str] = Counter()
        for line in lines:
            if int(line["Quantity"]) > 0 and line["StockCode"] in skus:
                quantities[line["StockCode"]] += int(line["Quantity"])
        if quantities:
            invoices[invoice] = (lines[0]["CustomerID"] or invoice, dict(quantities))
    assert len(invoices) >= 10
    return invoices


async def _customers(
    shop: Shop, invoices: dict[str, tuple[str, dict[str, int]]]
) -> dict[str, Customer]:
    names = sorted({name for name, _ in invoices.values()})
    few = asyncio.Semaphore(4)  # each costs the time of two hashes

    async def register() -> Customer:
        async with few:
            return await shop.register()

    return dict(zip(names, await asyncio.gather(*(register() for _ in names)), strict=True))

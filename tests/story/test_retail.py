"""The main job on real input: a retailer's catalogue imported, and every invoice ordered again."""

import asyncio
import csv
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

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
    await asyncio.to_thread(_import_catalogue, shop, path)
    products = await _products(shop)
    invoices = _invoices(path, products)
    customers = await _customers(shop, invoices)

    async def order(invoice: str) -> tuple[Customer, str]:
        buyer, lines = customers[invoices[invoice][0]], invoices[invoice][1]
        items = {products[sku]: quantity for sku, quantity in lines.items()}
        return buyer, (await shop.place_for_sure(buyer, items))["id"]

    placed = await asyncio.gather(*map(order, invoices))
    states = await shop.settled([order_id for _, order_id in placed], within_s=30)
    assert states == {("PENDING", "RESERVED"): len(invoices)}
    sold: Counter[str] = Counter()
    for _, lines in invoices.values():
        sold.update(lines)
    for sku, product_id in products.items():
        assert await shop.stock(product_id) == STOCK - sold[sku], sku
    orders_of = Counter(buyer.email for buyer, _ in placed)
    for email, count in orders_of.items():
        await shop.gets_mails(email, 1 + count, within_s=60)  # the welcome, and one an order


def _import_catalogue(shop: Shop, path: Path) -> None:
    columns = ("sku=StockCode", "name=Description", "price=UnitPrice")
    mapping = [part for column in columns for part in ("--column", column)]
    where = ["--data-dir", str(shop.platform.data_dir), "--json", "--stock", str(STOCK)]
    command = [sys.executable, "-m", "mercato", "import", "products", str(path)]
    done = subprocess.run([*command, *mapping, *where], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr  # 1: there were bad lines, and they are reported
    assert json.loads(done.stdout)["created"] + json.loads(done.stdout)["updated"] > 0


async def _products(shop: Shop) -> dict[str, str]:
    """Returns the id of every imported product by its sku."""
    found = await shop.database.products.find({"sku": {"$exists": True}, "stock": STOCK}).to_list()
    return {product["sku"]: str(product["_id"]) for product in found}


def _invoices(path: Path, products: dict[str, str]) -> dict[str, tuple[str, dict[str, int]]]:
    """Returns each sale's customer and its quantities by sku; credit notes are left out."""
    invoices: dict[str, tuple[str, dict[str, int]]] = {}
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            rows[row["InvoiceNo"]].append(row)
    for invoice, lines in rows.items():
        quantities: Counter[str] = Counter()
        for line in lines:
            if int(line["Quantity"]) > 0 and line["StockCode"] in products:
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

"""`mercato seed`: a small shop's catalogue, to have something on the shelves."""

import asyncio
from dataclasses import asdict
from importlib.resources import files

from mercato.cli.product_file import Line, ProductFile, Wording
from mercato.cli.shop import Shop
from mercato.cli.terminal import DataDir, Json, console, counted, say_json
from mercato.cli.upload import Tally, Upload, upload
from mercato.embedded.errors import PlatformError
from mercato.embedded.state import DEFAULT_DATA_DIR


def seed(*, data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Put a demo catalogue on the shelves; once more puts everything back as it was."""
    shop = Shop.of(data_dir)
    with files("mercato.cli").joinpath("catalogue.csv").open("rb") as file:
        lines = list(ProductFile(file, Wording(), "EUR"))
    for line in lines:
        if line.product:  # 12.90 EUR is as good as 1290 JPY
            line.product.price.currency = shop.currency
    tally = asyncio.run(upload(shop, Upload(_refused, _nothing), lines))
    if json:
        say_json(asdict(tally))
        return
    categories = {line.product.category for line in lines if line.product}
    console.print(
        f"{counted(tally.created, 'product')} created, {tally.updated} put back as they were, "
        f"in {len(categories)} categories"
    )


def _refused(line: Line) -> None:
    raise PlatformError(f"the catalogue's line {line.number} was refused: {line.reason}")


def _nothing(tally: Tally) -> None:
    """There is no progress to tell of in a second."""

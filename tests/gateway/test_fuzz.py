"""No input makes a fault, and every answer is one that the document tells of."""

from pathlib import Path

from tests.gateway.conftest import Shop
from tests.gateway.fuzz import fuzz


async def test_no_input_finds_a_fault_or_an_undocumented_answer(shop: Shop, tmp_path: Path) -> None:
    token = shop.tokens.access(shop.ids["admin"], "admin")
    sound, report = await fuzz(shop.url, token, tmp_path, examples_max=4, seconds_max=25)
    assert sound, report
    assert "Operations:       21 selected / 21 total" in report

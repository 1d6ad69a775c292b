"""Schemathesis finds no fault: no 5xx, no answer that the OpenAPI document does not promise."""

import asyncio
from pathlib import Path

from mercato.kernel.identity import Role
from tests.minting import minting
from tests.story.fuzz import fuzz
from tests.story.shop import Shop


async def test_no_input_makes_the_platform_fail_or_answer_what_it_does_not_document(
    shop: Shop, tmp_path: Path
) -> None:
    await asyncio.gather(fuzz_as("admin", shop, tmp_path), fuzz_as("customer", shop, tmp_path))


async def fuzz_as(who: Role, shop: Shop, folder: Path) -> None:
    home = folder / who
    home.mkdir()
    somebody = await shop.register("fuzz")  # whose profile it may ruin
    token = minting(shop.platform).access(somebody.id, who)
    sound, report = await fuzz(shop.url, token, home, examples_max=20, seconds_max=9)
    assert sound, f"as {who}: {report}"

"""Schemathesis finds no fault: no 5xx, no answer that the OpenAPI document does not promise."""

from pathlib import Path

import pytest

from tests.story.fuzz import fuzz
from tests.story.shop import Shop


@pytest.mark.parametrize("who", ["admin", "customer"])
async def test_no_input_makes_the_platform_fail_or_answer_what_it_does_not_document(
    shop: Shop, tmp_path: Path, who: str
) -> None:
    headers = shop.admin if who == "admin" else (await shop.register()).headers
    token = headers["Authorization"].removeprefix("Bearer ")
    sound, report = await fuzz(shop.url, token, tmp_path, examples_max=20, seconds_max=20)
    assert sound, report

"""Schemathesis finds no fault: no 5xx, no answer that the OpenAPI document does not promise."""

from pathlib import Path

import pytest

from mercato.kernel.identity import Role
from mercato.platform.tokens import Tokens
from tests.story.fuzz import fuzz
from tests.story.shop import Shop


@pytest.mark.parametrize("who", ["admin", "customer"])
async def test_no_input_makes_the_platform_fail_or_answer_what_it_does_not_document(
    shop: Shop, tmp_path: Path, who: Role
) -> None:
    # somebody of its own, whose profile it may ruin
    somebody = await shop.register("fuzz")
    tokens = Tokens(shop.platform.environment["JWT_SECRET"])
    token = tokens.access(somebody.id, who)
    sound, report = await fuzz(shop.url, token, tmp_path, examples_max=20, seconds_max=12)
    assert sound, report

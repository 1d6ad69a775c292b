"""The shop that the story happens in."""

from collections.abc import AsyncIterator

import pytest

from mercato.embedded.supervisor import Platform
from tests.story.shop import Shop


@pytest.fixture(scope="session")
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    async with Shop.of(platform) as opened:
        yield opened

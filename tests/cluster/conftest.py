"""One cluster for all tests here, and a shop in it."""

from collections.abc import AsyncIterator

import pytest

from mercato.embedded.size import CLUSTER
from mercato.embedded.supervisor import Platform
from tests.story.shop import Shop


@pytest.fixture(scope="package")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with (
        Platform.open(tmp_path_factory.mktemp("cluster"), size=CLUSTER) as platform,
        Shop.of(platform) as opened,
    ):
        yield opened

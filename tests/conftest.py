"""The platform under test: real servers and services on free ports, started once for all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mercato.embedded.supervisor import Platform


@pytest.fixture(scope="session")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Everything, as `mercato up` starts it; a test that breaks a part mends it."""
    home: Path = tmp_path_factory.mktemp("mercato")
    async with Platform.open(home) as running:
        yield running

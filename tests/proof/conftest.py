"""What the proofs share: a shop, the figures, and that nobody runs them by accident."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from mercato.embedded.supervisor import Platform
from tests.proof.figures import FILE, Figures
from tests.story.shop import Shop

HERE: Final = Path(__file__).parent
FIGURES: Final = pytest.StashKey[Figures]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Proofs take minutes: they are collected only where they are asked for by path."""
    asked = [Path(word.partition("::")[0]) for word in config.invocation_params.args]
    there = [path.resolve() for path in asked if path.exists()]
    return None if any(path.is_relative_to(HERE) for path in there) else True


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = Figures()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    told = config.stash.get(FIGURES, Figures())
    if told.told:
        terminalreporter.section("figures")
        for line in told.lines():
            terminalreporter.write_line(line)
        told.write(FILE)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return pytestconfig.stash[FIGURES]


@pytest.fixture(scope="session")
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    async with Shop.of(platform) as opened:
        yield opened

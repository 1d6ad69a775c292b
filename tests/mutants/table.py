"""The table of docs/mutants.md: every mutant, and what finds it."""

from collections.abc import Iterator
from typing import Final

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, SIMULATION

PAGE: Final = ROOT / "docs" / "mutants.md"


def lines() -> Iterator[str]:
    yield "| mutant | what is wrong with it | found by |"
    yield "|---|---|---|"
    for mutant in MUTANTS:
        finder = mutant.found_by if mutant.found_by == SIMULATION else f"`{mutant.found_by}`"
        yield f"| {mutant.name} | {mutant.fault} | {finder} |"

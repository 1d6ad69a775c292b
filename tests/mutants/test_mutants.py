"""Every mutant is found by its detector, and the platform as it is by none."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutants import table
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import (
    SIMULATION,
    Edit,
    Moved,
    Mutant,
    Verdict,
    checked,
    copied,
    simulated,
)
from tests.mutants.nursery import WORKERS

SIMULATED = [mutant for mutant in MUTANTS if mutant.found_by == SIMULATION]
TESTED = [mutant for mutant in MUTANTS if mutant.found_by != SIMULATION and not mutant.slow]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    """What the simulation says of each mutant."""
    copies = {m.name: copied(tmp_path_factory.mktemp("mutant"), m) for m in SIMULATED}
    told = simulated(list(copies.values()))
    return {name: told[copy] for name, copy in copies.items()}


@pytest.mark.parametrize("mutant", SIMULATED, ids=lambda mutant: mutant.name)
def test_the_simulation_finds(mutant: Mutant, verdicts: Mapping[str, Verdict]) -> None:
    assert verdicts[mutant.name].found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    """What its test says of each other mutant."""

    def told(mutant: Mutant) -> Verdict:
        return checked(copied(tmp_path_factory.mktemp("mutant"), mutant), mutant.found_by)

    with ThreadPoolExecutor(WORKERS) as workers:
        names = (mutant.name for mutant in TESTED)
        return dict(zip(names, workers.map(told, TESTED), strict=True))


@pytest.mark.parametrize("mutant", TESTED, ids=lambda mutant: mutant.name)
def test_a_test_finds(mutant: Mutant, answers: Mapping[str, Verdict]) -> None:
    assert answers[mutant.name].found


def test_the_simulation_finds_nothing_where_nothing_is_wrong(
    verdicts: Mapping[str, Verdict], tmp_path: Path
) -> None:
    copy = copied(tmp_path, Mutant("none", "nothing is wrong", ()))
    seeds = max(verdict.seeds for verdict in verdicts.values())
    assert simulated([copy], seeds)[copy].found == ""


def test_there_are_a_dozen_and_more() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.slow], ids=lambda mutant: mutant.name)
def test_a_mutant_for_which_there_is_no_time_here_fits_all_the_same(
    mutant: Mutant, tmp_path: Path
) -> None:
    assert copied(tmp_path, mutant).exists()


def test_a_mutant_that_fits_no_more_is_told_of(tmp_path: Path) -> None:
    lost = Edit("order/model.py", "a line that is not there", "")
    with pytest.raises(Moved, match="0 times"):
        copied(tmp_path / "lost", Mutant("lost", "fits nowhere", (lost,)))
    vague = Edit("order/model.py", "self.status", "")
    with pytest.raises(Moved, match="times"):
        copied(tmp_path / "vague", Mutant("vague", "fits everywhere", (vague,)))


def test_the_documentation_shows_which_detector_finds_which() -> None:
    assert "\n".join(table.lines()) in table.PAGE.read_text()

"""Many worlds, each with troubles of its own: what was promised holds in all of them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.run import simulate

ROOT = Path(__file__).parents[2]
SEEDS = 80
BATCHES = 5


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_promise_holds_whatever_is_lost_repeated_reordered_or_killed(batch: int) -> None:
    findings: dict[int, list[str]] = {}
    for seed in range(batch, SEEDS, BATCHES):
        outcome = simulate(seed)
        if outcome.findings:
            findings[seed] = outcome.findings
    assert findings == {}, "see one by: make simulate SEED=..."


def test_a_seed_replays_identically() -> None:
    for seed in range(1, 4):
        first, second = simulate(seed), simulate(seed)
        assert first.trace == second.trace
        assert first.hash == second.hash


def test_a_seed_replays_identically_in_another_process() -> None:
    told = {line for line in _hashes()}
    assert len(told) == 1, told


def _hashes() -> Iterator[str]:
    for _ in range(2):
        command = [sys.executable, "-m", "tests.simulation", "--seed", "7"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        yield done.stdout.splitlines()[-1]


def test_other_seeds_are_other_worlds() -> None:
    assert len({simulate(seed).hash for seed in range(1, 6)}) == 5

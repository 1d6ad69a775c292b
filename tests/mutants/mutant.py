"""What a mutant is: edits of the source that must fit exactly, and who finds it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.nursery import VERDICT

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "src" / "mercato"
SEEDS: Final = 400  # of the simulation, at most
TIMEOUT_S: Final = 240
SIMULATION: Final = "simulation"
# what the simulation does not import: it need not be copied for it
NOT_SIMULATED: Final = ("audit", "backup", "cli", "embedded", "gateway", "storm", "user")


class Moved(ValueError):
    """The source has changed where a mutant edits it: the mutant must move with it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`old` stands once in `path` (below src/mercato) and becomes `new`."""

    path: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Writes the changed file into `package`; raises Moved."""
        file = package / self.path
        source = file.read_text()
        if source.count(self.old) != 1:
            raise Moved(f"{self.path} has this {source.count(self.old)} times:\n{self.old}")
        changed = source.replace(self.old, self.new)
        compile(changed, self.path, "exec")
        file.unlink()
        file.write_text(changed)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault by name; `found_by` is the simulation, or the test that finds it (a pytest node)."""

    name: str
    fault: str
    edits: tuple[Edit, ...]
    found_by: str = SIMULATION
    slow: bool = False  # needs real servers: only in `make mutants`


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a detector says of a copy; `seeds` is 0 for a test."""

    found: str
    took_s: float
    seeds: int = 0


def copied(folder: Path, mutant: Mutant) -> Path:
    """Makes a copy of the source in `folder`, with the mutant's edits; returns `folder`."""
    others = NOT_SIMULATED if mutant.found_by == SIMULATION else ()
    ignored = shutil.ignore_patterns("*.proto", *others)
    shutil.copytree(PACKAGE, folder / "src" / "mercato", ignore=ignored)
    for edit in mutant.edits:
        edit.apply(folder / "src" / "mercato")
    return folder


def simulated(copies: Sequence[Path], seeds: int = SEEDS) -> Mapping[Path, Verdict]:
    """Runs the simulation on each copy until it finds something, `seeds` at most."""
    command = ["env", "PYTHONHASHSEED=0", sys.executable, "-m", "tests.mutants.nursery"]
    done = subprocess.run(
        [*command, str(seeds)], cwd=ROOT, input="".join(f"{each}\n" for each in copies),
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if any(not (copy / VERDICT).exists() for copy in copies):
        raise RuntimeError(f"the simulation did not run: {done.stdout}{done.stderr}")
    return {copy: Verdict(**json.loads((copy / VERDICT).read_text())) for copy in copies}


def checked(copy: Path, node: str) -> Verdict:
    """Runs a test on the copy."""
    python = ["env", f"PYTHONPATH={copy / 'src'}", sys.executable]
    options = ["-q", "-x", "-p", "no:cacheprovider", "--no-header"]
    started = time.monotonic()
    done = subprocess.run(
        [*python, "-m", "pytest", *options, node], cwd=ROOT, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1) or " error" in done.stdout.splitlines()[-1]:
        raise RuntimeError(f"the test did not run: {done.stdout}{done.stderr}")
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return Verdict(failed[0] if done.returncode else "", time.monotonic() - started)

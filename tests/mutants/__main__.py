"""`make mutants`: runs every mutant, the slow ones too, and prints what found it and how soon."""

import sys
import tempfile
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import SIMULATION, Mutant, Verdict, checked, copied, simulated


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        copies = {
            mutant.name: copied(Path(home) / str(number), mutant)
            for number, mutant in enumerate(MUTANTS)
        }
        by_simulation = [m for m in MUTANTS if m.found_by == SIMULATION]
        told = simulated([copies[mutant.name] for mutant in by_simulation])
        verdicts = {mutant.name: told[copies[mutant.name]] for mutant in by_simulation}
        none = Mutant("none", "nothing is wrong", (), found_by="")
        plain = copied(Path(home) / "plain", none)
        innocent = simulated([plain], max(v.seeds for v in verdicts.values()))[plain]
        for mutant in MUTANTS:
            if mutant.name not in verdicts:
                verdicts[mutant.name] = checked(copies[mutant.name], mutant.found_by)
        accused = [n for n in sorted({m.found_by for m in MUTANTS} - {SIMULATION})
                   if checked(plain, n).found]  # fmt: skip
    for mutant in MUTANTS:
        _show(mutant, verdicts[mutant.name])
    found = sum(bool(verdict.found) for verdict in verdicts.values())
    false = [*accused, *([innocent.found] if innocent.found else ())]
    _say(
        f"{found} of {len(MUTANTS)} are found; false alarms on the platform as it is: {len(false)}"
    )
    return bool(false) or found < len(MUTANTS)


def _show(mutant: Mutant, verdict: Verdict) -> None:
    how = f"{verdict.seeds} seeds" if verdict.seeds else "the test"
    what = verdict.found or "NOT FOUND"
    by = mutant.found_by.rpartition("::")[2][:46]
    _say(f"{mutant.name:<48} {by:<46} {how:>9} {verdict.took_s:6.1f} s  {what[:90]}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())

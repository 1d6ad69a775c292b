"""`make simulate`: runs seeds, or one seed with its trace."""

import argparse
import gc
import logging
import subprocess
import sys
import time

from tests.simulation.run import Outcome, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seed", type=int, help="run this one, and show what happened")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--until-found", action="store_true", help="stop at the first finding")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds must be 1 or more")
    if given.seed is not None:
        outcome = simulate(given.seed, level=logging.INFO)
        _show(outcome)
        return bool(outcome.findings)
    return _many(given.first, given.seeds, until_found=given.until_found)


def _many(first: int, count: int, *, until_found: bool) -> int:
    gc.freeze()  # modules stay: not to be looked at again and again
    started, bad = time.process_time(), []
    for seed in range(first, first + count):
        outcome = simulate(seed)
        if outcome.findings:
            bad.append(outcome)
            _say(f"seed {seed}: {len(outcome.findings)} findings, the first: {outcome.findings[0]}")
            if until_found:
                return 1
    taken_s = time.process_time() - started
    pace = f"{count / taken_s * 60:.0f} a minute on one core"
    _say(f"{count} seeds in {taken_s:.1f} s of CPU, {pace}, {len(bad)} bad")
    if bad:
        _say(f"see one: make simulate SEED={bad[0].seed}")
    return bool(bad)


def _show(outcome: Outcome) -> None:
    for at_s, *words in outcome.trace:
        _say(f"{at_s:>9}  {' '.join(map(str, words))}")
    _say(f"seed {outcome.seed} ended at {outcome.ended_s:.1f} s; trace {outcome.hash[:16]}")
    for finding in outcome.findings:
        _say(f"FOUND: {finding}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _with_fixed_hashes() -> int:
    """Starts again where sets of ids have the same order in every process."""
    command = ["env", "PYTHONHASHSEED=0", sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(_with_fixed_hashes() if sys.flags.hash_randomization else main())

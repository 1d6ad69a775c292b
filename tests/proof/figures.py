"""What the proofs have measured: kept, shown at the end, and written to `proof.json`."""

import json
import math
import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from mercato.platform.settings import whole_environment

FILE: Final = Path("proof.json")
Value = int | float | str


def scale() -> float:
    """The part of the full size that is wanted: PROOF_SCALE, by default all of it."""
    return float(whole_environment().get("PROOF_SCALE") or 1)


def sized(full: int, least: int = 1) -> int:
    """Returns the full size times the scale, at least `least`."""
    return max(least, math.ceil(full * scale()))


def chosen(name: str, otherwise: float) -> float:
    """Returns the number in the environment's variable `name`, else `otherwise`."""
    return float(whole_environment().get(name) or otherwise)


def percentile(values: Sequence[float], part: float) -> float:
    """Returns the value that `part` (0 to 1) of `values` do not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(part * len(ranked)) - 1)] if ranked else 0.0


def p99_ms(seconds: Sequence[float]) -> float:
    return round(1000 * percentile(seconds, 0.99), 1)


class Crowd:
    """How much of the machine others had while we measured: processes that are no children of ours.

    `free_cores` is what was left for us, servers included.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy_s()
        self._ours = _ours_s()

    @property
    def free_cores(self) -> float:
        """The cores that others did not use, from the beginning until now."""
        seconds = max(time.monotonic() - self._began, 0.001)
        others = (_busy_s() - self._busy - (_ours_s() - self._ours)) / seconds
        return round((os.cpu_count() or 1) - max(others, 0.0), 2)


def _busy_s() -> float:
    spent = psutil.cpu_times()
    return float(spent.user + spent.nice + spent.system)


def _ours_s() -> float:
    ours = psutil.Process()
    total = 0.0
    for process in (ours, *ours.children(recursive=True)):
        try:
            spent = process.cpu_times()
        except psutil.Error:
            continue
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


class Figures:
    """Figures by guarantee; `tell` adds to what is known of one."""

    def __init__(self) -> None:
        self.told: dict[str, dict[str, Value]] = {}

    def tell(self, guarantee: str, **figures: Value) -> None:
        known = self.told.setdefault(guarantee, {})
        known |= {name: _short(value) for name, value in figures.items()}

    def lines(self) -> list[str]:
        """Each guarantee's figures as a line."""
        ordered = sorted(self.told, key=lambda name: (len(name), name))
        return [f"{name:4} {_listed(self.told[name])}" for name in ordered]

    def write(self, path: Path) -> None:
        """Adds what was told to what the file knows of other guarantees."""
        try:
            known: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            known = {}
        about = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "scale": scale(),
        }
        known |= {name: about | {"figures": figures} for name, figures in self.told.items()}
        path.write_text(json.dumps(known, indent=2) + "\n")


def _short(value: Value) -> Value:
    return round(value, 3) if isinstance(value, float) else value


def _listed(figures: dict[str, Value]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())

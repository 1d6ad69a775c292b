"""What goes wrong, and when: decided by a seed alone, before the storm begins."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mercato.embedded.plan import SERVICES
from mercato.storm.smtp import STAGES
from mercato.storm.wiring import LINKS

GROUPS: Final = ("services", "servers", "network", "mail")


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` happens to `target` at a time after the storm's beginning, and lasts so long.

    `much` is how many replies are dropped, or by how many seconds bytes are delayed.
    """

    at_s: float
    group: str
    kind: str
    target: str
    lasts_s: float = 0.0
    much: float = 0.0


@dataclass(frozen=True, slots=True)
class _Habit:
    """How often a kind of fault comes, to whom, and within which bounds."""

    group: str
    kind: str
    per_minute: float
    targets: Sequence[str]
    lasts_s: tuple[float, float] = (0.0, 0.0)
    much: tuple[float, float] = (0.0, 0.0)


# Those in whose transactions a kill can do harm more often than those that keep nothing.
_VICTIMS: Final = ("gateway", "user", "order", "order", *("inventory", "mailer") * 3)
_HABITS: Final = (
    _Habit("services", "kill", 72, _VICTIMS),
    _Habit("services", "stop", 8, SERVICES, (0.5, 2.5)),
    _Habit("servers", "wipe", 4, ("nats",)),
    _Habit("servers", "kill", 3, ("mongo",)),
    _Habit("servers", "kill", 2, ("nats",)),
    _Habit("servers", "kill", 3, ("redis",)),
    _Habit("servers", "stop", 3, ("redis",), (0.5, 3.0)),
    _Habit("servers", "flush", 4, ("redis",)),
    _Habit("mail", "kill", 2, ("mailbox",)),
    *(_Habit("mail", f"cut {stage}", 4, ("smtp",)) for stage in STAGES),
    _Habit("network", "cut", 12, LINKS),
    _Habit("network", "stall", 10, LINKS, (0.2, 1.5)),
    _Habit("network", "delay", 10, LINKS, (1.0, 3.0), (0.02, 0.15)),
    _Habit("network", "drop replies", 24, LINKS, much=(1, 4)),
)


def draw(seed: int, duration_s: float, groups: Sequence[str] = GROUPS) -> list[Fault]:
    """Returns the faults of a storm in the order of their times; all are over by `duration_s`.

    Each kind comes at random moments of equal slots, so that every seed has its share of each.
    """
    rng = random.Random(seed)  # noqa: S311
    faults: list[Fault] = []
    for habit in _HABITS:
        drawn = _drawn(habit, rng, duration_s)  # always, so that groups do not change each other
        faults += drawn if habit.group in groups else []
    return sorted(faults, key=lambda fault: fault.at_s)


def _drawn(habit: _Habit, rng: random.Random, duration_s: float) -> list[Fault]:
    count = max(1, round(habit.per_minute * duration_s / 60))
    slot_s = duration_s / count
    faults = []
    for number in range(count):
        lasts_s = min(rng.uniform(*habit.lasts_s), duration_s)
        at_s = min((number + rng.random()) * slot_s, duration_s - lasts_s)
        target, much = rng.choice(habit.targets), rng.uniform(*habit.much)
        faults.append(Fault(at_s, habit.group, habit.kind, target, lasts_s, much))
    return faults

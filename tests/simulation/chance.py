"""What goes wrong in one seed: each kind of trouble has a probability, drawn once per seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

_OFTEN = (0.0, 0.0, 0.01, 0.05, 0.2)


@dataclass(slots=True)
class Odds:
    """Of each kind of trouble at each opportunity; 0 is a world without it."""

    store_refuses: float = 0.0  # not applied, and the client hears of an error
    store_loses_answers: float = 0.0  # applied, and the client hears of an error
    store_dawdles: float = 0.0
    calls_refused: float = 0.0
    calls_lose_answers: float = 0.0
    calls_twice: float = 0.0
    publish_lost: float = 0.0
    publish_late: float = 0.0
    publish_unconfirmed: float = 0.0
    delivery_lost: float = 0.0
    delivery_twice: float = 0.0
    delivery_late: float = 0.0
    ack_lost: float = 0.0
    mail_cut: float = 0.0
    mail_refused: float = 0.0
    cache_lost: float = 0.0

    @classmethod
    def drawn(cls, chance: random.Random) -> "Odds":
        return cls(**{each.name: chance.choice(_OFTEN) for each in fields(cls)})


class Trouble:
    """The seed's chance and odds; `on` until the faults stop. `note` writes the trace."""

    def __init__(self, chance: random.Random, odds: Odds, note: Callable[..., Any]) -> None:
        self.chance = chance
        self.odds = odds
        self.note = note
        self.on = True

    def happens(self, kind: str) -> bool:
        odds: float = getattr(self.odds, kind)
        return self.on and odds > 0 and self.chance.random() < odds

    def pause_s(self, mean_s: float) -> float:
        return self.chance.expovariate(1 / mean_s)

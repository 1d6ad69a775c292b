"""What every hand-written service has: the calls it saw, and the refusals it is told to give."""

from dataclasses import dataclass, field
from typing import Any

from mercato.kernel.identity import Caller, Party
from mercato.platform.rpc import caller

NOW = "2026-01-02T03:04:05.678Z"
ALL: frozenset[Party] = frozenset(("customer", "admin", "gateway"))
Context = Any


@dataclass
class Service:
    """What every fake has: the callers it saw, and a refusal that the next call is given."""

    seen: list[tuple[str, Caller]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def note(self, method: str) -> None:
        self.seen.append((method, caller()))
        if self.failures:
            raise self.failures.pop(0)

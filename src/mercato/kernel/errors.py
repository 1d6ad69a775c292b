"""The kinds of refusal; each transport has one table that says what they look like there."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field: its path (`items[0].quantity`) and what is wrong with it."""

    field: str
    detail: str


def all_of(found: Sequence[Violation], further: Iterable[Violation]) -> list[Violation]:
    """Returns `found`, and of `further` what is about other fields."""
    named = {each.field for each in found}
    return [*found, *(each for each in further if each.field not in named)]


class AppError(Exception):
    """A refusal that the caller is told about; its slug (`out-of-stock`) is the class's name."""

    retry_after_s = 0  # when the same call may go through; 0: nobody knows

    def __init__(self, detail: str, violations: Iterable[Violation] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.violations = tuple(violations)

    @cached_property
    def slug(self) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()


class Invalid(AppError):
    """What was sent cannot be meant: some field breaks its rule."""


class Unauthenticated(AppError):
    """Nobody, or nobody that we know, is asking."""


class Forbidden(AppError):
    """The caller is known and may not do this."""


class NotFound(AppError):
    """There is no such thing, or none that this caller may know of."""


class Conflict(AppError):
    """Well formed, and against the present state."""


class Stale(AppError):
    """The caller's version of the thing is not the present one."""


class Exhausted(AppError):
    """Too much at once; the same call may go through later."""

    def __init__(
        self, detail: str, violations: Iterable[Violation] = (), *, retry_after_s: int = 0
    ) -> None:
        super().__init__(detail, violations)
        self.retry_after_s = retry_after_s


class Unavailable(AppError):
    """Something that this call needs is away; the same call may go through later."""


KINDS = (Invalid, Unauthenticated, Forbidden, NotFound, Conflict, Stale, Exhausted, Unavailable)

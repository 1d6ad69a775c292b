"""The values that the REST resources share: ids, e-mail addresses, exact amounts."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from mercato.kernel.errors import Violation
from mercato.kernel.money import MINOR_MAX, Money
from mercato.pb import money_pb2

# Python's `$` also matches before a last newline; elsewhere (RE2, ECMA 262) it does not.
END: Final = r"$(?!\n)"
# No mail reaches another address (mercato.kernel.heads).
MAILABLE: Final = r"(?=[^@]{1,64}@)(?!.*=\?)"

_ID: Final = "[0-9a-fA-F]{24}"
_EMAIL: Final = (
    rf"^{MAILABLE}"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64})*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_NUMBER: Final = r"^(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?$"
_WRITTEN: Final = re.compile(_NUMBER)
EXAMPLE_ID: Final = "68016c6489e4500884e8382f"


def matching(pattern: str, rule: str, **more: Any) -> Meta:
    """Returns the rule that a whole text matches `pattern`; `rule` says so to a person."""
    told = {"description": f"{rule[0].upper()}{rule[1:]}."} | more
    return Meta(pattern=f"{pattern}{END}", extra={"rule": rule}, **told)


def text(most: int, **more: Any) -> Meta:
    """Returns the rule of a text of at most so many characters, of any kind but NUL."""
    return matching(r"^[^\x00]*", "must not contain U+0000", max_length=most, **more)


Id = Annotated[str, matching(f"^{_ID}", "must be 24 hex digits", examples=[EXAMPLE_ID])]
IdOrNone = Annotated[str, matching(f"^({_ID})?", "must be 24 hex digits")]
IdOrMe = Annotated[str, matching(f"^(me|{_ID})", "must be 24 hex digits, or `me`", examples=["me"])]
IdOrCurrent = Annotated[
    str,
    matching(f"^(current|{_ID})", "must be 24 hex digits, or `current`", examples=["current"]),
]
Email = Annotated[
    str,
    matching(
        _EMAIL,
        "must be an e-mail address, with at most 64 characters and no =? before the @",
        max_length=254,
        examples=["ada@example.com"],
    ),
]
Key = Annotated[
    str,
    matching(
        "^[ -~]+", "must be printable ASCII, and not empty", max_length=255, examples=["7f3a"]
    ),
]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object that a client sends; `also` is more of its JSON Schema."""

    also: ClassVar[dict[str, Any]] = {}

    @classmethod
    def further(cls, said: Mapping[str, str]) -> Iterable[Violation]:
        """Returns what breaks a rule that only a service knows to keep; asked beside other faults.

        `said` has every member of the object, empty where it is no string.
        """
        return ()


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends in a path, a query or in headers."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=False):
    """A JSON object that a client gets."""


class ById(Parameters, frozen=True):
    id: Id


class Parsed:
    """A value with a reader of its own; `schema` is what JSON Schema says of it."""

    schema: ClassVar[dict[str, Any]]

    @classmethod
    def parse(cls, value: object, currency: str) -> Any:
        """Returns the value that `value` (as JSON gives it) means; raises ValueError."""
        raise NotImplementedError


class Amount(Parsed):
    """An exact amount of money in the platform's currency, from a JSON number or string."""

    minor_max: ClassVar[int] = MINOR_MAX
    schema: ClassVar[dict[str, Any]] = {
        "description": "An exact decimal with at most the currency's digits; never rounded.",
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _NUMBER}],
        "examples": [19.99, "19.99"],
    }

    def __init__(self, money: Money) -> None:
        self.message = money_pb2.Money(minor=money.minor, currency=money.currency)

    @classmethod
    def parse(cls, value: object, currency: str) -> "Amount":
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise ValueError("must be an amount: a number, or a decimal as a string")
        # Decimal() itself would also take "1_000", " 1", "NaN" and the digits of other scripts.
        if isinstance(value, str) and not _WRITTEN.fullmatch(value):
            raise ValueError("must be an amount, such as 19.99")
        money = Money.of(Decimal(value), currency)
        if not 0 <= money.minor <= cls.minor_max:
            most = Money(cls.minor_max, currency).amount
            raise ValueError(f"must be between 0 and {most:f}")
        return cls(money)


class Price(Amount):
    """What one unit costs."""

    minor_max = 10_000_000_000


class Change(Parsed):
    """A change of stock: an integer that is not 0."""

    schema: ClassVar[dict[str, Any]] = {
        "type": "integer",
        "minimum": -1_000_000_000,
        "maximum": 1_000_000_000,
        "not": {"const": 0},
        "examples": [25],
    }

    def __init__(self, units: int) -> None:
        self.units = units

    @classmethod
    def parse(cls, value: object, currency: str) -> "Change":
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be an integer")
        if value == 0 or abs(value) > 1_000_000_000:
            raise ValueError("must be between -1000000000 and 1000000000, and not 0")
        return cls(value)


def amount_of(money: money_pb2.Money) -> Decimal:
    return Money(money.minor, money.currency).amount

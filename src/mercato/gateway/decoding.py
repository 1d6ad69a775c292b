"""JSON and parameters in: exact, strict, and with every problem told at once."""

import functools
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from mercato.gateway.shapes import Parsed
from mercato.kernel.errors import AppError, Violation

PROBLEMS_MAX: Final = 100
TWICE: Final = "is given more than once"
INTEGER_DIGITS_MAX: Final = 40
_HUGE: Final[int] = 10**INTEGER_DIGITS_MAX
_WRITTEN: Final = re.compile("-?(0|[1-9][0-9]*)")  # as JSON writes an integer

T = TypeVar("T")


class Malformed(AppError):
    """The body is no JSON that could mean one thing only."""


class Decoder:
    """Turns what JSON gives into the structs of the REST resources; amounts in `currency`."""

    def __init__(self, currency: str) -> None:
        self._currency = currency

    def read(self, value: object, kind: type[T], at: str, bad: list[Violation]) -> T | None:
        """Returns `value` as `kind`; or None, with all of its problems added to `bad`.

        `at` is the JSON pointer of `value`.
        """
        try:
            return msgspec.convert(value, kind, dec_hook=self._parse)
        except msgspec.ValidationError:
            bad += self._problems(value, kind, at)[:PROBLEMS_MAX]
            return None

    def _parse(self, kind: type, value: object) -> Any:
        if issubclass(kind, Parsed):
            return kind.parse(value, self._currency)
        raise NotImplementedError(kind)

    def _fault(self, value: object, kind: Any) -> str:
        """Returns what is wrong with `value` first of all, in a sentence; empty: nothing."""
        try:
            msgspec.convert(value, kind, dec_hook=self._parse)
        except msgspec.ValidationError as failure:
            return _told(failure, kind)
        return ""

    def _problems(self, value: object, kind: Any, at: str) -> list[Violation]:
        fault = self._fault(value, kind)
        if not fault:
            return []
        return self._inner(value, kind, at) or [Violation(at, fault)]

    def _inner(self, value: object, kind: Any, at: str) -> list[Violation]:
        """Returns the problems of what `value` is made of."""
        plain, metas = _plain(kind)
        if isinstance(value, dict) and isinstance(plain, type):
            if issubclass(plain, msgspec.Struct):
                return self._members(value, plain, at)
        elif isinstance(value, list) and get_origin(plain) is list:
            if self._fault(value, Annotated[(list[Any], *metas)]):
                return []  # too many to look at each
            (item,) = get_args(plain)
            each = (self._problems(v, item, f"{at}/{i}") for i, v in enumerate(value))
            return [problem for found in each for problem in found]
        return []

    def _members(
        self, value: Mapping[str, object], kind: type[msgspec.Struct], at: str
    ) -> list[Violation]:
        found = []
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for name, field in fields.items():
            if name in value:
                found += self._problems(value[name], field.type, f"{at}/{name}")
            elif field.required:
                found.append(Violation(f"{at}/{name}", "is missing"))
        unknown = [name for name in value if name not in fields]
        return found + [
            Violation(f"{at}/{_escaped(name)}", "is not known here") for name in unknown
        ]


def parsed(body: bytes) -> object:
    """Returns what the JSON text `body` says, its numbers exactly; raises Malformed.

    Two members of one name are refused: two readers could take two meanings from them.
    """
    try:
        value = _READER.decode(body.decode())
        if b"\\u" in body:
            msgspec.json.decode(body)  # refuses half a surrogate pair, which is no text
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    except RecursionError:
        raise Malformed("the body is nested too deeply") from None
    except (ValueError, ArithmeticError) as failure:
        raise Malformed(f"the body is not JSON: {_said(failure)}") from None
    return value


def asked(text: bytes, kind: type[msgspec.Struct], bad: list[Violation]) -> dict[str, object]:
    """Returns the parameters of the query string `text`, with the integers of `kind` read."""
    found: dict[str, object] = {}
    try:
        pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True, errors="strict")
    except ValueError:
        bad.append(Violation("/query", "must be percent-encoded UTF-8"))
        return found
    for name, value in pairs:
        if name in found:
            bad.append(Violation(f"/query/{_escaped(name)}", TWICE))
        found[name] = value
        if name in _integers(kind):
            if _WRITTEN.fullmatch(value):
                found[name] = _integer(value)
            else:
                bad.append(Violation(f"/query/{name}", "must be an integer"))
                del found[name]
    return found


@functools.cache
def _integers(kind: type[msgspec.Struct]) -> frozenset[str]:
    fields = msgspec.structs.fields(kind)
    return frozenset(each.encode_name for each in fields if _plain(each.type)[0] is int)


def _said(failure: Exception) -> str:
    if isinstance(failure, json.JSONDecodeError):
        return f"{failure.msg} at line {failure.lineno}, column {failure.colno}"
    return str(failure) if isinstance(failure, _Refused) else "it holds what no JSON text may"


class _Refused(ValueError):
    """What the reader below refuses, beside the grammar."""


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(members)
    if len(value) != len(members):
        raise _Refused("two members of an object have the same name")
    return value


def _integer(text: str) -> int:
    if len(text) > INTEGER_DIGITS_MAX:  # far outside of every range; int() would be quadratic
        return -_HUGE if text[0] == "-" else _HUGE
    return int(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise _Refused("a number's exponent is beyond all sense") from None


def _constant(text: str) -> object:
    raise _Refused(f"{text} is no JSON number")


_READER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_constant
)


def _plain(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns `kind` without its rules and its way to be absent, and the rules."""
    if get_origin(kind) is Annotated:
        plain, *metas = get_args(kind)
        return plain, tuple(metas)
    if get_origin(kind) in (Union, UnionType):
        present = [each for each in get_args(kind) if each is not msgspec.UnsetType]
        return _plain(present[0])
    return kind, ()


_KINDS: Final = {
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
    "float": "a number",
    "decimal": "a number",
}
_LENGTH: Final = re.compile(r"Expected `(\w+)` of length (<=|>=) (\d+)")
_RANGE: Final = re.compile(r"Expected `\w+` (<=|>=) (-?\d+)")
_KIND: Final = re.compile(r"Expected `(\w+)(?: \| null)?`, got `(\w+)`")


def _told(failure: Exception, kind: Any) -> str:
    """Returns msgspec's words as a sentence about the field."""
    text = str(failure).partition(" - at `")[0]
    if " matching regex " in text:
        extras = [meta.extra for meta in _plain(kind)[1] if meta.extra]
        return next((str(extra["rule"]) for extra in extras), "has not the form that it needs")
    if found := _LENGTH.match(text):
        what, side, count = found.groups()
        unit = "items" if what == "array" else "characters"
        return f"must have at {'least' if side == '>=' else 'most'} {count} {unit}"
    if found := _RANGE.match(text):
        return f"must be at {'least' if found[1] == '>=' else 'most'} {found[2]}"
    if found := _KIND.match(text):
        wanted, got = (_KINDS.get(name, name) for name in found.groups())
        return f"must be {wanted}, not {got}"
    if text.startswith("Invalid enum value"):
        values = ", ".join(str(value) for value in get_args(_plain(kind)[0]) if value != "")
        return f"must be one of {values}"
    return text


def _escaped(name: str) -> str:
    """Returns a member's name for a JSON pointer (RFC 6901), cut where it is very long."""
    return name[:100].replace("~", "~0").replace("/", "~1")

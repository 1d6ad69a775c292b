"""Documents as MongoDB sees them: queries, updates, projections and `$jsonSchema` rules.

Whatever is not known here raises NotImplementedError: the store never guesses.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import bson
from bson import Int64, ObjectId
from bson.codec_options import CodecOptions

from mercato.kernel.clock import now

Document = dict[str, Any]
OPTIONS: Final[CodecOptions[Document]] = CodecOptions(tz_aware=True, tzinfo=UTC)
_ABSENT: Final = object()


class Stored:
    """A document as it lies in the store: its bytes, and a reading of them for queries."""

    __slots__ = ("data", "raw")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.raw = bson.encode(document)
        self.data = bson.decode(self.raw, OPTIONS)

    def read(self, projection: Mapping[str, int] | None = None) -> Document:
        """Returns a copy of the document, or of the fields that `projection` names."""
        whole: Document = bson.decode(self.raw, OPTIONS)
        if projection is None:
            return whole
        if any(wish != 1 or "." in name for name, wish in projection.items()):
            raise NotImplementedError(f"projection {projection}")
        return {k: v for k, v in whole.items() if k == "_id" or k in projection}


def matches(data: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    for name, wanted in query.items():
        if name == "$or":
            if not any(matches(data, each) for each in wanted):
                return False
        elif not _fits(name, data.get(name, _ABSENT), wanted):
            return False
    return True


def _fits(name: str, value: Any, wanted: Any) -> bool:
    if name[0] == "$" or "." in name or isinstance(value, list) or wanted is None:
        raise NotImplementedError(f"query {name}: {wanted!r}")
    if type(wanted) is dict:
        return all(_OPERATORS[operator](value, operand) for operator, operand in wanted.items())
    return bool(value == wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, operand: value is not _ABSENT and compare(value, operand)


_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$in": lambda value, operand: value is not _ABSENT and value in operand,
    "$ne": lambda value, operand: bool(value != operand),
    "$exists": lambda value, operand: (value is not _ABSENT) is operand,
    "$gte": _ordered(lambda value, operand: bool(value >= operand)),
    "$gt": _ordered(lambda value, operand: bool(value > operand)),
    "$lte": _ordered(lambda value, operand: bool(value <= operand)),
    "$lt": _ordered(lambda value, operand: bool(value < operand)),
}


def updated(data: Mapping[str, Any], change: Mapping[str, Any], *, inserts: bool) -> Document:
    """Returns `data` after `change`; `inserts` when an upsert makes the document."""
    fresh: Document = dict(data)
    for operator, fields in change.items():
        for name, value in fields.items():
            outer, _, inner = name.partition(".")
            if inner and operator == "$unset" and isinstance(fresh.get(outer, {}), dict):
                if outer in fresh:
                    fresh[outer] = updated(fresh[outer], {operator: {inner: value}}, inserts=False)
            elif inner or name[0] == "$":
                raise NotImplementedError(f"update of {name}")
            else:
                _apply(operator, fresh, name, value, inserts)
    return fresh


def _apply(operator: str, fresh: Document, name: str, value: Any, inserts: bool) -> None:
    if operator == "$set" or (operator == "$setOnInsert" and inserts):
        fresh[name] = value
    elif operator == "$unset":
        fresh.pop(name, None)
    elif operator == "$inc":
        fresh[name] = fresh.get(name, 0) + value
    elif operator == "$currentDate" and value is True:
        fresh[name] = now()
    elif operator == "$push" and set(value) == {"$each"}:
        fresh[name] = [*fresh.get(name, []), *value["$each"]]
    elif operator != "$setOnInsert":
        raise NotImplementedError(f"{operator} {name}: {value!r}")


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,), "array": (list,), "string": (str,), "bool": (bool,),
    "int": (int,), "long": (int, Int64), "objectId": (ObjectId,), "date": (datetime,),
}  # fmt: skip


Rule = Callable[[Any], bool]


def rule(schema: Mapping[str, Any]) -> Rule:
    """Returns what tells whether a value keeps the `$jsonSchema` rule."""
    parts = [_RULES[name](operand, schema) for name, operand in schema.items()]
    if len(parts) == 1:
        return parts[0]
    return lambda value: all(part(value) for part in parts)


def _is_a(names: str | list[str], _: Any) -> Rule:
    kinds = [names] if isinstance(names, str) else names
    types = tuple(each for kind in kinds for each in _TYPES[kind])
    if bool in types or int not in types:
        return lambda value: isinstance(value, types)
    return lambda value: isinstance(value, types) and value is not True and value is not False


def _properties(rules: Mapping[str, Any], _: Any) -> Rule:
    parts = [(name, rule(each)) for name, each in rules.items()]
    return lambda value: all(part(value[name]) for name, part in parts if name in value)


_RULES: Final[dict[str, Callable[[Any, Mapping[str, Any]], Rule]]] = {
    "bsonType": _is_a,
    "properties": _properties,
    "required": lambda names, _: lambda value: all(name in value for name in names),
    "additionalProperties": lambda allowed, schema: (
        lambda value: allowed or value.keys() <= schema["properties"].keys()
    ),
    "enum": lambda allowed, _: lambda value: value in allowed,
    "minimum": lambda least, _: lambda value: bool(value >= least),
    "minItems": lambda count, _: lambda value: len(value) >= count,
}

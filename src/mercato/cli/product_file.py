"""A CSV file of products, read a line at a time: what each line says, or what is wrong with it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO

from mercato.cli.csv_rows import Row, Rows, Unusable
from mercato.gateway.shapes import Price
from mercato.kernel.errors import Invalid, Violation
from mercato.pb.inventory_pb2 import CreateProductRequest
from mercato.pb.money_pb2 import Money as PbMoney
from mercato.platform.rpc import validated

NEEDED = ("sku", "name", "price")
FIELDS = (*NEEDED, "stock", "category", "description")
# What the patterns of these fields ask for, in the words of the API.
_NO_NUL = "must not contain U+0000"
RULES = {
    "name": "must be one line, and not blank", "sku": "must be printable, without spaces",
    "description": _NO_NUL, "category": _NO_NUL,
}  # fmt: skip

SHOWN_MAX = 40  # columns, and characters of each

_PRICE = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")
_UNITS = re.compile(r"([+-]?[0-9]{1,9}|1000000000)(\.0*)?")  # spreadsheets write 12.0


@dataclass(frozen=True, slots=True)
class Wording:
    """How a file says things: `columns` (our field to its column, where they differ), and
    `defaults` for fields that a line leaves empty.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Line:
    """What stands in the file from line `number` on: a product, or the reason why there is none."""

    number: int
    cells: Sequence[str]
    product: CreateProductRequest | None
    reason: str = ""


class ProductFile:
    """Iterate over it for its lines, once."""

    def __init__(self, file: IO[bytes], wording: Wording, currency: str) -> None:
        """Reads the header; raises Unusable when what is needed is not in it."""
        self.wording = wording
        self._currency = currency
        self._rows = Rows(file, wording.delimiter, wording.encoding)
        self._unread = iter(self._rows)
        head = next(self._unread, Row(1))
        if head.problem:
            raise Unusable(f"line {head.number} should be the header, but it {head.problem}")
        self.header = [name.strip() for name in head.cells]
        self._places = self._find_columns()

    @property
    def bytes_read(self) -> int:
        """How far it has got."""
        return self._rows.bytes_read

    def __iter__(self) -> Iterator[Line]:
        for row in self._unread:
            if row.problem:
                yield Line(row.number, row.cells, None, row.problem)
                continue
            try:
                product = self._product(row.cells)
            except Invalid as wrong:
                reasons = (f"{self._named(each.field)}{each.detail}" for each in wrong.violations)
                yield Line(row.number, row.cells, None, "; ".join(reasons))
            else:
                yield Line(row.number, row.cells, product)

    def _find_columns(self) -> dict[str, int]:
        plain = {name.casefold(): place for place, name in enumerate(self.header)}
        named = {field: self.wording.columns.get(field, field) for field in FIELDS}
        places = {
            field: plain[name.casefold()]
            for field, name in named.items()
            if name.casefold() in plain
        }
        wanted = {*NEEDED, *self.wording.columns}
        missing = [named[field] for field in FIELDS if field in wanted and field not in places]
        if missing:
            found = ", ".join(map(_shown, self.header[:SHOWN_MAX])) or "none, it is empty"
            raise Unusable(
                f"the file has no column {', '.join(missing)}; its columns: {found}",
                "say which column is meant, as in --column name=Description; see also --delimiter",
            )
        heads = [name.casefold() for name in self.header]
        twice = [named[field] for field in places if heads.count(named[field].casefold()) > 1]
        if twice:
            raise Unusable(
                f"the file has more than one column {', '.join(twice)}", "give each its own name"
            )
        return places

    def _product(self, cells: Sequence[str]) -> CreateProductRequest:
        if len(cells) != len(self.header):
            detail = f"has {len(cells)} columns, the header {len(self.header)}"
            raise Invalid("a line like no other", [Violation("", detail)])
        text = {field: cells[place].strip() for field, place in self._places.items()}
        if not all(map(_clean, text.values())):
            detail = f"is not {self.wording.encoding}; try --encoding latin-1"
            raise Invalid("not text", [Violation("", detail)])
        text |= {f: value for f, value in self.wording.defaults.items() if not text.get(f)}
        wrong: list[Violation] = [] if text["sku"] else [Violation("sku", "is needed")]
        price, stock = self._price(text["price"], wrong), _units(text.get("stock", ""), wrong)
        product = CreateProductRequest(
            sku=text["sku"], name=text["name"], price=price, stock=stock,
            description=text.get("description") or None, category=text.get("category") or None,
        )  # fmt: skip
        try:
            validated(product)
        except Invalid as more:
            known = {each.field for each in wrong}
            found = {each.field: _worded(each) for each in more.violations}
            wrong += (each for each in found.values() if each.field not in known)
        if wrong:
            raise Invalid("some fields break their rules", wrong)
        return product

    def _price(self, text: str, wrong: list[Violation]) -> PbMoney | None:
        try:
            if not _PRICE.fullmatch(text):
                raise ValueError(f"must be an amount such as 19.99, not {text[:40]!r}")
            return Price.parse(Decimal(text), self._currency).message
        except ValueError as problem:
            wrong.append(Violation("price", str(problem)))
            return None

    def _named(self, field: str) -> str:
        """A field as the file calls it, with the colon after it."""
        column = self.wording.columns.get(field, field)
        return (f"{field} ({column}): " if column != field else f"{field}: ") if field else ""


def _shown(column: str) -> str:
    """A column's name for a terminal, which control characters would command."""
    return column[:SHOWN_MAX] if column.isprintable() else repr(column[:SHOWN_MAX])


def _worded(violation: Violation) -> Violation:
    """The violation in words for people, where it speaks of a pattern."""
    if "regex" in violation.detail:
        return Violation(violation.field, RULES.get(violation.field, violation.detail))
    return violation


def _clean(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _units(text: str, wrong: list[Violation]) -> int | None:
    if text and not _UNITS.fullmatch(text):
        wrong.append(
            Violation("stock", f"must be a whole number up to 1,000,000,000, not {text[:40]!r}")
        )
        return None
    return int(text.partition(".")[0]) if text else None

"""A CSV file's rows, each read to its own end: nothing inside a cell is ever taken for a row."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

from mercato.embedded.errors import PlatformError

ROW_CHARACTERS_MAX: Final = 1024 * 1024
PIECE_BYTES: Final = 1024 * 1024
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_QUOTED, _MAYBE_CLOSED, _CELL_BEGINS, _IN_CELL = '"', '""', "", "\n"


class Unusable(PlatformError):
    """The file cannot be read as products at all."""


@dataclass(frozen=True, slots=True)
class Row:
    """What stands from line `number` on: cells, or the `problem` with them."""

    number: int
    cells: Sequence[str] = ()
    problem: str = ""


class Rows:
    """Iterate over it for its rows, once. `bytes_read` tells how far it has got."""

    def __init__(self, file: IO[bytes], delimiter: str, encoding: str) -> None:
        self.bytes_read = 0
        self._file = file
        self._delimiter = delimiter
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._cell_in_quotes = re.compile(rf'(?:^|{re.escape(delimiter)})"(?:[^"]++|"")*+("?)')

    def __iter__(self) -> Iterator[Row]:
        """The rows that are not blank; a row that is too long is read over, not kept."""
        number, lines, kept, characters, state = 1, 0, "", 0, _CELL_BEGINS
        for piece in self._pieces():
            characters += len(piece)
            if characters <= ROW_CHARACTERS_MAX:
                kept += piece
            else:
                kept = ""
            state = self._state_after(state + piece)
            if not piece.endswith("\n"):
                continue
            lines += 1
            if state != _QUOTED:
                yield from self._row(number, kept)
                number, kept, characters, state = lines + 1, "", 0, _CELL_BEGINS
        if state == _QUOTED:
            yield Row(number, problem="opens a quotation mark that nothing closes")
        elif characters:
            yield from self._row(number, kept)

    def _pieces(self) -> Iterator[str]:
        """The file's lines, long ones in parts; a byte that is no text becomes a lone surrogate."""
        for raw in iter(lambda: self._file.readline(PIECE_BYTES), b""):
            content = raw
            if not self.bytes_read:
                if raw.startswith(_UTF16):
                    raise Unusable("the file is UTF-16: save it as UTF-8")
                content = raw.removeprefix(codecs.BOM_UTF8)
            self.bytes_read += len(raw)
            yield self._decoder.decode(content)
        yield self._decoder.decode(b"", final=True)

    def _state_after(self, text: str) -> str:
        """Where `text`, from a row's start on, ends: told by a shorter text that ends there too.

        As csv sees it, a quotation mark opens a quoted cell only where the cell begins.
        """
        last = None
        if '"' in text:
            for last in self._cell_in_quotes.finditer(text):  # noqa: B007
                pass
        if last and last.end() == len(text):
            return _MAYBE_CLOSED if last[1] else _QUOTED
        return _CELL_BEGINS if text.endswith(self._delimiter) or not text else _IN_CELL

    def _row(self, number: int, text: str) -> Iterator[Row]:
        """`text` is a whole row; empty when it was too long to keep."""
        if not text:
            yield Row(number, problem=f"is longer than {ROW_CHARACTERS_MAX:,} characters")
            return
        try:
            cells = next(csv.reader([text], delimiter=self._delimiter))
        except csv.Error as wrong:
            too_large = "field limit" in str(wrong)
            limit = f"has a cell of more than {csv.field_size_limit():,} characters"
            lone = "has a lone carriage return: save the file with the usual line ends"
            yield Row(number, problem=limit if too_large else lone)
        else:
            if cells:
                yield Row(number, cells)

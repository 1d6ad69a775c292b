"""`mercato import products`: a CSV file into the catalogue, the good lines of it."""

import asyncio
import codecs
import csv
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mercato.cli.csv_rows import Unusable
from mercato.cli.product_file import FIELDS, Line, ProductFile, Wording
from mercato.cli.shop import Prices, Shop
from mercato.cli.terminal import DataDir, Json, console, counted, explain, say_json
from mercato.cli.terminal import errors as terminal
from mercato.cli.upload import Tally, Upload, pretend, upload
from mercato.embedded.state import DEFAULT_DATA_DIR

SHOWN_MAX = 20  # bad lines on the terminal
TOLD_MAX = 1000  # and in the JSON answer
ALL_FINE, SOME_BAD, USAGE = 0, 1, 2


def products(
    file: Annotated[
        str,
        Parameter(allow_leading_hyphen=True, help="A CSV file with a header; - is standard input."),
    ],
    /,
    *,
    column: Annotated[
        Sequence[str],
        Parameter(name=("--column", "-c"), help="Our field = their column: name=Description."),
    ] = (),
    stock: Annotated[NonNegativeInt | None, Parameter(help="Where the file says none.")] = None,
    category: Annotated[str, Parameter(help="Where the file says none.")] = "",
    delimiter: Annotated[str, Parameter(help="Between two columns; \\t is a tab.")] = ",",
    encoding: Annotated[str, Parameter(help="Such as latin-1 or cp1252.")] = "utf-8",
    dry_run: Annotated[bool, Parameter(help="Only check the file; no platform is needed.")] = False,
    errors: Annotated[
        Path | None, Parameter(name="--errors", help="Write the bad lines here, to be mended.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> int:
    """Put the products of a CSV file into the catalogue: new ones, and by sku those it has."""
    defaults = {"stock": "" if stock is None else str(stock), "category": category}
    try:
        wording = Wording(_columns(column), defaults, _delimiter(delimiter), _known(encoding))
        with _opened(file, spare=errors) as opened:
            source = ProductFile(opened, wording, Prices.of(data_dir).currency)
            shop = None if dry_run else Shop.of(data_dir)
            with Complaints(source, errors, quiet=json) as complaints:
                took_s, tally = _load(source, _size(opened), shop, complaints, quiet=json)
    except (Unusable, OSError) as failure:
        return _unusable(failure, file, json=json)
    if json:
        result = {"dry_run": dry_run, "seconds": round(took_s, 3), "errors": complaints.told}
        say_json(asdict(tally) | result)
    else:
        _summarise(tally, took_s, dry_run=dry_run)
        complaints.summarise()
    return SOME_BAD if tally.bad else ALL_FINE


class Complaints:
    """Where the bad lines go: the first onto the terminal, all into the file of --errors."""

    def __init__(self, source: ProductFile, path: Path | None, *, quiet: bool) -> None:
        self.told: list[dict[str, int | str]] = []
        self._count = 0
        self._quiet = quiet
        self._path = path
        self._file = None
        if path is not None:
            self._file = path.open(
                "w", encoding=source.wording.encoding, errors="surrogateescape", newline=""
            )
            self._writer = csv.writer(self._file, delimiter=source.wording.delimiter)
            self._writer.writerow(("line", "reason", *source.header))

    def __enter__(self) -> "Complaints":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with _naming(self._path):
                self._file.close()

    def add(self, line: Line) -> None:
        self._count += 1
        if self._file is not None:
            with _naming(self._path):
                self._writer.writerow((line.number, line.reason, *line.cells))
        if self._count <= TOLD_MAX:
            self.told.append({"line": line.number, "reason": line.reason})
        if self._count <= SHOWN_MAX and not self._quiet:
            terminal.print(f"line {line.number}: {line.reason}", markup=False)

    def summarise(self) -> None:
        if self._path is not None and self._count:
            terminal.print(f"the bad lines are all in {self._path}", markup=False)
        elif self._count > SHOWN_MAX:
            hidden = counted(self._count - SHOWN_MAX, "line")
            terminal.print(f"and {hidden} more; --errors FILE keeps them all")


@contextmanager
def _naming(path: Path | None) -> Iterator[None]:
    """A failure to write names no file either: it is `path`."""
    try:
        yield
    except OSError as failure:
        failure.filename = path
        raise


def _unusable(failure: Unusable | OSError, file: str, *, json: bool) -> int:
    """A failure to read names no file: it is the one that is read."""
    if isinstance(failure, OSError):
        name = failure.filename or ("standard input" if file == "-" else file)
        failure = Unusable(f"{name}: {failure.strerror}")
    explain(failure, json=json)
    return USAGE


def _load(
    source: ProductFile, size: int | None, shop: Shop | None, complaints: Complaints, *, quiet: bool
) -> tuple[float, Tally]:
    began = time.monotonic()
    with _progress(source, size, shown=not quiet) as tell:
        run = Upload(complaints.add, tell)
        tally = asyncio.run(upload(shop, run, source) if shop else run.run(source, pretend))
    return time.monotonic() - began, tally


@contextmanager
def _progress(
    source: ProductFile, size: int | None, *, shown: bool
) -> Iterator[Callable[[Tally], None]]:
    """On a terminal: a bar over the file's `size` in bytes, the rate, and the time left."""
    columns = (BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    with Progress(
        *columns, console=terminal, transient=True, disable=not (shown and terminal.is_terminal)
    ) as bar:
        task = bar.add_task("", total=size, said="")
        began = time.monotonic()

        def tell(tally: Tally) -> None:
            rate = tally.lines / max(time.monotonic() - began, 1e-3)
            said = f"{tally.lines:,} lines, {rate:,.0f} a second"
            bar.update(task, completed=source.bytes_read, said=said)

        yield tell


def _summarise(tally: Tally, took_s: float, *, dry_run: bool) -> None:
    rate = f"{tally.lines / max(took_s, 1e-3):,.0f} lines a second"
    console.print(f"{counted(tally.lines, 'line')} in {took_s:.1f} s ({rate})")
    if dry_run:
        console.print(f"{counted(tally.products, 'product')} would be imported; nothing was")
    else:
        created = counted(tally.created, "product")
        console.print(f"[green]{created} created[/], {tally.updated:,} updated")
    if tally.repeated:
        differing = f" ({tally.differing:,} of them say something else)" if tally.differing else ""
        console.print(
            f"sku repeated by {counted(tally.repeated, 'line')}{differing}: the first counts"
        )
    if tally.bad:
        console.print(f"[red]left out as bad: {counted(tally.bad, 'line')}[/]")


def _columns(given: Sequence[str]) -> Mapping[str, str]:
    """Returns `name=Description` and its like as a mapping; raises Unusable."""
    columns = {}
    for each in given:
        field, equals, column = each.partition("=")
        if not (equals and column.strip()) or field not in FIELDS:
            raise Unusable(
                f"--column {each} is not one of our fields = one of the file's columns",
                f"our fields: {', '.join(FIELDS)}",
            )
        columns[field] = column.strip()
    return columns


def _delimiter(given: str) -> str:
    text = {"\\t": "\t", "tab": "\t"}.get(given, given)
    if len(text) != 1 or text in '\r\n"':
        raise Unusable(f"--delimiter must be one character, not {given!r}")
    return text


def _known(encoding: str) -> str:
    """Returns the encoding's own name; raises Unusable for one that lines cannot be read in."""
    try:
        name = codecs.lookup(encoding).name
        if "\n".encode(name) == b"\n" and b"\n".decode(name, "surrogateescape") == "\n":
            return name
    except (LookupError, UnicodeError):
        pass
    raise Unusable(f"--encoding {encoding} is not supported", "such as utf-8, latin-1 or cp1252")


def _opened(file: str, *, spare: Path | None) -> BinaryIO:
    """Opens the file; raises Unusable when it is `spare`, which will be written over."""
    ours = file != "-"
    if ours and spare and spare.exists() and spare.samefile(file):
        raise Unusable("--errors must be another file than the one that is read")
    return open(file if ours else sys.stdin.fileno(), "rb", closefd=ours)


def _size(opened: BinaryIO) -> int | None:
    """The bytes of a file, None for a pipe's unknown end."""
    status = os.fstat(opened.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None

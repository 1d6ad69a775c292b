"""A CSV file of products: what a line says, and what is wrong with it."""

import io
from collections.abc import Sequence
from typing import get_args

import pytest

from mercato.cli import csv_rows
from mercato.cli.csv_rows import ROW_CHARACTERS_MAX, Unusable
from mercato.cli.product_file import RULES, Line, ProductFile, Wording
from mercato.cli.upload import Tally, Upload, pretend
from mercato.gateway.product_shapes import Name, Sku

HEADER = "sku,name,price,stock,category,description\n"


def read(content: str | bytes, wording: Wording | None = None, currency: str = "EUR") -> list[Line]:
    raw = content.encode() if isinstance(content, str) else content
    return list(ProductFile(io.BytesIO(raw), wording or Wording(), currency))


def reasons(lines: Sequence[Line]) -> dict[int, str]:
    return {line.number: line.reason for line in lines if line.product is None}


def test_a_line_is_a_product() -> None:
    (line,) = read(HEADER + 'A-1, Mug ,12.90,7,kitchen,"Round, blue"\n')
    product = line.product
    assert product is not None
    assert (product.sku, product.name, product.stock) == ("A-1", "Mug", 7)
    assert (product.price.minor, product.price.currency) == (1290, "EUR")
    assert (product.category, product.description) == ("kitchen", "Round, blue")


def test_what_a_line_leaves_out_is_left_alone_or_the_default() -> None:
    (plain,) = read("sku,name,price\nA,Mug,1\n")
    assert plain.product
    assert not plain.product.HasField("stock")
    assert not plain.product.HasField("category")
    defaults = Wording(defaults={"stock": "5", "category": "gifts"})
    first, second = read("sku,name,price,stock\nA,Mug,1,\nB,Cup,1,9\n", defaults)
    assert first.product
    assert second.product
    assert (first.product.stock, second.product.stock) == (5, 9)
    assert first.product.category == "gifts"


def test_every_fault_of_a_line_is_named_with_the_files_own_words() -> None:
    wording = Wording(columns={"name": "Description"})
    lines = read("SKU,description,Price,Stock\n,,x,1.5\n", wording)
    assert list(reasons(lines)) == [2]
    said = lines[0].reason
    for part in ("sku: is needed", "name (Description): must", "price: must", "stock: must"):
        assert part in said


def test_the_rules_of_a_text_are_told_in_the_words_of_the_api() -> None:
    lines = read(f"sku,name,price\nA B,Mug,1\nA,,1\nA,a\tb,1\nA,{'x' * 201},1\n")
    assert reasons(lines) == {
        2: f"sku: {RULES['sku']}",
        3: f"name: {RULES['name']}",
        4: f"name: {RULES['name']}",
        5: "name: must be at most 200 characters",
    }
    for field, shape in (("name", Name), ("sku", Sku)):
        (meta,) = get_args(shape)[1:]
        assert RULES[field] == meta.extra["rule"]


@pytest.mark.parametrize(
    "price", ["", "x", "NaN", "1e3", "-1", "1_0", "1.234", "12,90", "1" * 30, "100000001"]
)
def test_what_is_no_price_is_a_bad_line(price: str) -> None:
    assert "price" in read(f'sku,name,price\nA,Mug,"{price}"\n')[0].reason


@pytest.mark.parametrize("stock", ["x", "-1", "1.5", "1000000001", "99999999999", "1_0"])
def test_what_is_no_number_of_units_is_a_bad_line(stock: str) -> None:
    assert "stock" in read(f"sku,name,price,stock\nA,Mug,1,{stock}\n")[0].reason


def test_lines_are_numbered_as_an_editor_does() -> None:
    content = HEADER + 'A,Mug,1,1,,"two\nlines"\n\nB,Cup,x,1,,\n'
    lines = read(content)
    assert [line.number for line in lines] == [2, 5]
    assert list(reasons(lines)) == [5]


def test_a_line_of_another_width_is_bad_and_the_next_is_good() -> None:
    lines = read("sku,name,price\nA,Mug\nB,Cup,1\nC,Pot,1,2\n")
    assert reasons(lines) == {
        2: "has 2 columns, the header 3",
        4: "has 4 columns, the header 3",
    }


def test_other_encodings_and_delimiters_are_read() -> None:
    content = "sku;name;price\nA;Crème;1\n"
    assert (
        "try --encoding latin-1"
        in read(content.encode("latin-1"), Wording(delimiter=";"))[0].reason
    )
    (line,) = read(content.encode("latin-1"), Wording(delimiter=";", encoding="latin-1"))
    assert line.product
    assert line.product.name == "Crème"
    (line,) = read(b"\xef\xbb\xbf" + content.encode(), Wording(delimiter=";"))
    assert line.product
    assert line.product.sku == "A"


def test_a_huge_cell_spoils_its_own_line_only() -> None:
    lines = read(f"sku,name,price\nA,{'x' * 200_000},1\nB,Cup,1\n")
    assert list(reasons(lines)) == [2]
    assert lines[-1].product


HUGE = "x" * 140_000
LONGER = "x" * ROW_CHARACTERS_MAX
INSIDE = "K2,I stood inside a cell,9,boo\n"


@pytest.mark.parametrize(
    ("cells", "last"),
    [
        (f'K1,good,1,"{HUGE}\n{INSIDE}end"\n', 5),
        (f'K1,good,1,"{LONGER}\n{INSIDE}end"\n', 5),
        (f'K1,good,1,"two\n{LONGER}\n{INSIDE}end"\n', 6),
        (f'K1,good,1,"{INSIDE * 40_000}"\n', 40_003),
        (f"K1,good,1,{LONGER},{INSIDE}", 3),
        (f"K1,good,1,{LONGER}\n", 3),
        (f'K1,good,1,"a ""word"",{LONGER}\n""{INSIDE}"\n', 5),
    ],
    ids=["cell", "line", "second line", "lines", "tail", "plain", "quotes"],
)
def test_nothing_inside_a_bad_cell_becomes_a_product(cells: str, last: int) -> None:
    lines = read(f'sku,name,price,description\n{cells}K3,fine,1,a 6" one\nK4,fine,1,\n')
    assert list(reasons(lines)) == [2]
    assert [(line.number, line.product.sku) for line in lines if line.product] == [
        (last, "K3"),
        (last + 1, "K4"),
    ]


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 5])
def test_where_a_long_line_is_cut_makes_no_difference(
    piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (
        'sku,name,price,description\nA,"a ""b"",",1,"ü\nB,""Cup"",2,""\n"\n'
        'C,6" pipe,1,"x"y"\n\nD,"",1,\nE,Pot,1,""\nF,Pan,1,"é"'
    ).encode()
    whole = read(content)
    monkeypatch.setattr(csv_rows, "PIECE_BYTES", piece_bytes)
    assert read(content) == whole
    assert [line.number for line in whole if line.product] == [2, 5, 8, 9]


def test_a_quotation_mark_that_nothing_closes_is_told_of() -> None:
    lines = read('sku,name,price,description\nA,Mug,1,\nB,Cup,1,"open\nC,Pot,1,\n')
    assert reasons(lines) == {3: "opens a quotation mark that nothing closes"}
    assert len(lines) == 2


@pytest.mark.parametrize("content", ["", "\n", "a,b\n", '"' + "x" * 200_000])
def test_a_file_without_the_needed_columns_is_unusable(content: str) -> None:
    with pytest.raises(Unusable):
        read(content)


def test_a_column_that_is_there_twice_is_refused_unless_nobody_reads_it() -> None:
    with pytest.raises(Unusable, match="more than one column Titel, price"):
        read("sku,Titel,price,TITEL, Price\nA,Mug,1,Cup,2\n", Wording(columns={"name": "Titel"}))
    (line,) = read("sku,note,name,note,,price,\nA,x,Mug,y,,1,\n")
    assert line.product


def test_blank_lines_before_the_header_are_read_over() -> None:
    lines = read("\n\r\nsku,name,price\n\nA,Mug,1\nB,Cup,x\n")
    assert [line.number for line in lines] == [5, 6]
    assert list(reasons(lines)) == [6]


def test_what_csv_cannot_read_is_told_for_who_has_the_file() -> None:
    lines = read(f"sku,name,price\nA,Mug\r,1\nB,{HUGE},1\nC,{LONGER}\nD,Pot,1\n")
    assert reasons(lines) == {
        2: "has a lone carriage return: save the file with the usual line ends",
        3: "has a cell of more than 131,072 characters",
        4: "is longer than 1,048,576 characters",
    }
    assert lines[-1].product
    with pytest.raises(Unusable, match="line 2 should be the header, but it has a lone carriage"):
        read("\nsku,name,price\rA,Mug,1\r")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_told_so(encoding: str) -> None:
    with pytest.raises(Unusable, match="the file is UTF-16: save it as UTF-8"):
        read("\ufeffsku,name,price\nA,Mug,1\n".encode(encoding))


def test_a_header_that_would_command_the_terminal_is_shown_as_text() -> None:
    with pytest.raises(Unusable, match=r"its columns: '\\x1b\[31mred', b, c{40}\n"):
        read(f"\x1b[31mred,b,{'c' * 50}\n1,2,3\n")


def test_prices_have_the_digits_of_their_currency() -> None:
    assert "decimal places" in read("sku,name,price\nA,Mug,1.5\n", currency="JPY")[0].reason
    lines = read("sku,name,price\nA,Mug,-1\nB,Cup,100000000.01\nC,Pot,100000000\n")
    said = "price: must be between 0 and 100000000.00"
    assert reasons(lines) == {2: said, 3: said}


async def test_the_first_good_line_of_a_sku_counts() -> None:
    lines = read("sku,name,price\nA,,1\nA,Mug,1\nA,Mug,1\nA,Other,1\nB,Cup,1\n")
    refused: list[Line] = []
    sent: list[str] = []

    async def put(batch: Sequence[Line]) -> Sequence[None]:
        sent.extend(line.product.name for line in batch if line.product)
        return await pretend(batch)

    tally = await Upload(refused.append, lambda tally: None).run(lines, put)
    assert tally == Tally(lines=5, products=2, repeated=2, differing=1, bad=1)
    assert sent == ["Mug", "Cup"]
    assert [line.number for line in refused] == [2]


async def test_no_batch_is_larger_than_a_message_may_be() -> None:
    description = "ü" * 5000
    rows = "".join(f"S{i},Mug,1,{description}\n" for i in range(300))
    sizes: list[int] = []

    async def put(batch: Sequence[Line]) -> Sequence[None]:
        sizes.append(sum(line.product.ByteSize() for line in batch if line.product))
        return await pretend(batch)

    lines = read("sku,name,price,description\n" + rows)
    tally = await Upload(lambda line: None, lambda tally: None).run(lines, put)
    assert tally.products == 300
    assert max(sizes) < 1_000_000
    assert len(sizes) > 1

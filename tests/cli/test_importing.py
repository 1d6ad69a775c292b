"""What `mercato import products` says, without a platform."""

from pathlib import Path

import pytest

from mercato.cli.importing import ALL_FINE, SOME_BAD, USAGE, _summarise, products
from mercato.cli.upload import Tally


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable = "/proc/self/mem"  # opens, and fails to be read
    assert products(unreadable, dry_run=True, data_dir=tmp_path) == USAGE
    assert capsys.readouterr().err == f"error: {unreadable}: Input/output error\n"


def test_a_full_disk_is_told_of_with_the_file_that_has_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, full = tmp_path / "shop.csv", Path("/dev/full")
    file.write_text("sku,name,price\nA,Mug,x\n")
    assert products(str(file), dry_run=True, errors=full, data_dir=tmp_path) == USAGE
    assert "error: /dev/full: No space left on device\n" in capsys.readouterr().err


def test_one_is_said_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("sku,name,price\nA,Mug,1\n")
    assert products(str(file), dry_run=True, data_dir=tmp_path) == ALL_FINE
    said = capsys.readouterr().out
    assert said.startswith("1 line in ")
    assert said.endswith("\n1 product would be imported; nothing was\n")
    file.write_text("sku,name,price\nA,Mug,1\nB,Cup,1\nC,Pot,x\n")
    assert products(str(file), dry_run=True, data_dir=tmp_path) == SOME_BAD
    said = capsys.readouterr().out
    assert "\n2 products would be imported; nothing was\nleft out as bad: 1 line\n" in said
    _summarise(Tally(lines=1, products=1, created=1), 1.0, dry_run=False)
    assert capsys.readouterr().out.endswith("\n1 product created, 0 updated\n")

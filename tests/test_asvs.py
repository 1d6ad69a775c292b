"""docs/asvs.md and docs/security.md name only what exists, and each row says where."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mercato"
TEXT = (ROOT / "docs" / "asvs.md").read_text()
TOLD = TEXT + (ROOT / "docs" / "security.md").read_text()
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| \d", line)]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def test_every_test_and_tool_that_the_documents_name_exists() -> None:
    named = set(re.findall(r"`((?:tests|tools|requirements)/[\w./-]+\.\w+)`", TOLD))
    assert len(named) > 40
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


def test_every_module_that_the_documents_name_exists() -> None:
    named = set(re.findall(r"`((?:gateway|platform|embedded|user|kernel)/[\w./-]+\.\w+)`", TOLD))
    assert len(named) > 5
    assert sorted(name for name in named if not (SOURCE / name).is_file()) == []


def test_a_row_says_whether_and_where() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        found = cells(row)
        assert len(found) == 4, row
        assert found[2] in ("yes", "partly", "no", "none", "yours"), row
        assert len(found[3]) > 10, row


def test_no_requirement_is_told_twice_and_each_chapter_is_there() -> None:
    ids = [each for row in ROWS for each in re.findall(r"\d+\.\d+\.\d+", cells(row)[0])]
    assert [each for each, count in Counter(ids).items() if count > 1] == []
    chapters = {int(each.partition(".")[0]) for each in ids}
    assert chapters == set(range(1, 17)) - {5}

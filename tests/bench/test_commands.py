"""The commands that the documentation gives are understood."""

import re
import shlex
from pathlib import Path

import pytest
from benchmarks.__main__ import arguments

DOCS = Path(__file__).parents[2] / "docs" / "performance.md"
GIVEN = re.compile(r'^\$ make bench(?: ARGS=("[^"]*"|\S+))?', re.MULTILINE)


def test_every_command_of_the_documentation_is_understood() -> None:
    commands = [shlex.split(found.strip('"')) for found in GIVEN.findall(DOCS.read_text())]
    assert len(commands) > 8
    for words in commands:
        arguments(words)


@pytest.mark.parametrize("words", [["--only", "list"], ["--seconds", "0"], ["--grown", "999"]])
def test_a_wrong_option_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err

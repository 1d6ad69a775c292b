"""Style as a test: what a reader relies on holds in every module."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTION_LINES_MAX = 40
MODULE_LINES_MAX = 300
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "core", "misc"}
UNFINISHED = ("FIX" + "ME", "TO" + "DO", "XX" + "X")

FOLDERS = ("src", "tools", "tests", "benchmarks")
MODULES = [
    path
    for path in sorted(chain.from_iterable((ROOT / folder).rglob("*.py") for folder in FOLDERS))
    if "_pb2" not in path.name  # generated
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_tidy(path: Path) -> None:
    assert list(faults(path.stem, path.read_text())) == []


def test_no_folder_has_a_vague_name() -> None:
    folders = {part for path in MODULES for part in path.relative_to(ROOT).parts[:-1]}
    assert VAGUE_NAMES.isdisjoint(folders)


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("order", "import os\n", "no module docstring"),
        ("order", "", "no module docstring"),
        ("order", '"""Says something."""\n', "empty: a docstring and nothing else"),
        ("helpers", '"""Says something."""\nx = 1\n', "name the file after what it holds"),
        ("order", '"""Says something."""\nx = 1  # ' + UNFINISHED[1] + "\n", "unfinished: line 2"),
        ("order", '"""Says something."""\n' + "x = 1\n" * 300, "301 lines"),
        ("order", '"""D."""\ndef f():\n' + "    x = 1\n" * 40, "f has 41 lines"),
        ("order", '"""D."""\nclass C:\n  async def f():\n' + "    x = 1\n" * 40, "f has 41 lines"),
    ],
)
def test_an_untidy_module_is_found_out(name: str, source: str, fault: str) -> None:
    assert list(faults(name, source)) == [fault]


def test_a_tidy_module_passes() -> None:
    source = '"""Says something."""\ndef f():\n' + "    x = 1\n" * 39
    assert list(faults("order", source)) == []
    assert list(faults("__init__", '"""What the package is."""\n')) == []


def faults(name: str, source: str) -> Iterator[str]:
    """Yields what is wrong with a module of this name (without .py)."""
    tree = ast.parse(source)
    lines = source.splitlines()
    if name in VAGUE_NAMES:
        yield "name the file after what it holds"
    if ast.get_docstring(tree) is None:
        yield "no module docstring"
    elif len(tree.body) == 1 and name != "__init__":
        yield "empty: a docstring and nothing else"
    if len(lines) > MODULE_LINES_MAX:
        yield f"{len(lines)} lines"
    for number, line in enumerate(lines, 1):
        if any(word in line for word in UNFINISHED):
            yield f"unfinished: line {number}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{node.name} has {length} lines"

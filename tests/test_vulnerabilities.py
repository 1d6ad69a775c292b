"""The check of known vulnerabilities tells "vulnerable" from "could not ask"."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[1] / "tools" / "vulnerabilities.py"
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}
HOLE = {"id": "PYSEC-1", "fix_versions": ["1.1"], "description": "a hole"}
HOLED = {"name": "holed", "version": "1.0", "vulns": [HOLE]}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("vulnerabilities", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("sys.argv", ["vulnerabilities.py"])
    return module


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ([SOUND, UNKNOWN], 0, "0 in 1 packages; no answer about 1: unknown"),
        ([SOUND, HOLED], 1, "PYSEC-1 in holed 1.0: mended in 1.1 (a hole)"),
        ([UNKNOWN], 0, "could not ask"),
        ([], 0, "could not ask"),
    ],
)
def test_only_a_known_vulnerability_fails_the_check(
    tool: ModuleType, capsys: pytest.CaptureFixture[str], answer: object, code: int, said: str
) -> None:
    tool._asked = lambda *_: answer  # type: ignore[attr-defined]
    assert tool.main() == code
    told = capsys.readouterr()
    assert said in told.out + told.err


def test_where_it_must_ask_silence_is_a_failure(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["vulnerabilities.py", "--strict"])
    tool._asked = lambda *_: []  # type: ignore[attr-defined]
    assert tool.main() == 2

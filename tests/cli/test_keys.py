"""`mercato keys`: what it lists, what it makes, and what it refuses."""

import json
from pathlib import Path

import pytest

from mercato.cli.app import app
from mercato.embedded import keys
from mercato.embedded.errors import PlatformError
from mercato.platform.tokens.keys import write


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[dict[str, str]]]:
    app([*words, "--json"], result_action="return_value")
    return dict(json.loads(capsys.readouterr().out))


def test_a_rotated_key_waits_beside_the_one_that_signs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.insist(tmp_path)
    folder = ("--data-dir", str(tmp_path))
    said(capsys, "keys", "rotate", "--algorithm", "Ed25519", *folder)
    found = said(capsys, "keys", "list", *folder)["keys"]
    told = [(key["algorithm"], key["state"], bool(key["until"])) for key in found]
    assert told == [("ES256", "signs", True), ("Ed25519", "next", False)]


def test_where_there_are_no_keys_it_says_how_to_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlatformError, match="no keys"):
        app(["keys", "list", "--data-dir", str(tmp_path)], result_action="return_value")


def test_a_disowned_key_is_gone_and_its_successor_signs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.insist(tmp_path)
    folder = ("--data-dir", str(tmp_path))
    before = said(capsys, "keys", "list", *folder)["keys"]
    app(["keys", "disown", before[0]["id"], *folder, "--json"], result_action="return_value")
    told = json.loads(capsys.readouterr().out)
    after = said(capsys, "keys", "list", *folder)["keys"]
    assert [(key["id"], key["state"]) for key in after] == [(told["successor"], "signs")]
    assert told["recorded"] is False  # no platform runs there
    assert told["id"] == before[0]["id"] != told["successor"]
    with pytest.raises(PlatformError, match="no key"):
        said(capsys, "keys", "disown", before[0]["id"], *folder)


def test_a_key_removed_by_hand_is_shown_as_such_and_does_not_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, public = keys.insist(tmp_path)
    folder = ("--data-dir", str(tmp_path))
    write(public, [], private=False)
    found = said(capsys, "keys", "list", *folder)["keys"]
    assert [key["state"] for key in found] == ["not published"]
    said(capsys, "keys", "rotate", *folder)
    after = said(capsys, "keys", "list", *folder)["keys"]
    assert [key["state"] for key in after] == ["signs"]
    assert after[0]["id"] != found[0]["id"]

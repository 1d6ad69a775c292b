"""The storm itself, from the outside: every promise is kept, and nothing stays behind."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mercato.embedded import state
from tests import command

MERCATO = (sys.executable, "-P", "-m", "mercato", "storm")
ORDERS = 3_000
STOP_S_MAX = 15.0


@pytest.mark.timeout(420)
def test_a_storm_of_three_thousand_orders_breaks_no_promise(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "report"
    words = ("--orders", str(ORDERS), "--minutes", str(20 / 60), "--json")
    folders = ("--data-dir", str(home), "--report", str(folder))
    done = subprocess.run((*MERCATO, *words, *folders), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    broken = [claim for claim in report["claims"] if not claim["kept"]]
    assert broken == [], f"seed {report['options']['seed']}"
    assert (done.returncode, report["passed"]) == (0, True)
    assert report["acknowledged"] == ORDERS
    assert report["times"]["quiet_s"] is not None
    kinds = {fault.rpartition(" ")[0] for fault in report["faults"]}
    assert {"kill", "wipe", "drop replies"} <= kinds
    assert any(kind.startswith("cut ") for kind in kinds)  # which stages mails come to is chance
    assert report["restarts"] > 0
    assert json.loads((folder / "storm.json").read_bytes()) == report
    assert "PASS" in (folder / "storm.html").read_text()
    assert left(home) == []


def test_an_interrupted_storm_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = ("--data-dir", str(home), "--report", str(tmp_path / "report"), "--clients", "4")
    with subprocess.Popen((*MERCATO, *words), stdout=subprocess.PIPE, text=True) as storm:
        try:
            assert storm.stdout is not None
            assert any("orders acknowledged" in line for line in storm.stdout)
            assert left(home) != []
            began = time.monotonic()
            storm.send_signal(signal.SIGINT)
            assert storm.wait(STOP_S_MAX) == 130
            assert time.monotonic() - began < STOP_S_MAX
            assert left(home) == []
        finally:
            storm.kill()


def left(home: Path) -> list[psutil.Process]:
    """The platform's processes that live."""
    known = state.read(home)
    parts = known.parts.values() if known else ()
    found = [part.process.find() for part in parts if part.process]
    return [process for process in found if process]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--faults", "locusts"), "locusts"),
        (("--orders", "0"), "orders"),
        (("--data-dir", "."), "not empty"),
        (("--report", "/proc/nowhere"), "choose another one with --report"),
    ],
)
def test_a_storm_that_makes_no_sense_is_refused(words: tuple[str, str], says: str) -> None:
    done = command.mercato("storm", *words)
    assert done.returncode in (1, 2)
    assert says in done.stderr + done.stdout

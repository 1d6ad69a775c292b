"""The `mercato` command from the outside: real processes, signals and exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mercato.embedded import state
from mercato.embedded.errors import PlatformError
from mercato.embedded.ports import demand
from mercato.embedded.secure.mode import PASSWORDS_FILE
from mercato.embedded.state import PlatformState
from mercato.platform.settings import whole_environment
from tests import command

STOP_S_MAX = 10.0
MERCATO = (sys.executable, "-P", "-m", "mercato")


def mercato(
    *words: str, data_dir: Path | str, given: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command; one that may start something gets a process of its own."""
    line = (*words, "--data-dir", str(data_dir))
    if words[0] != "up":
        return command.mercato(*line, environment=given or {})
    environment = {**whole_environment(), **(given or {})}
    return subprocess.run(
        (*MERCATO, *line), capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@contextmanager
def up(data_dir: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`mercato up`, ready; by default the servers alone. Killed at the end if it still runs."""
    line = (*MERCATO, "up", *(words or ("--services", "")), "--data-dir", str(data_dir))
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for said in process.stdout:
                if said.startswith("ready"):
                    break
            yield process
        finally:
            process.kill()


def children(known: PlatformState) -> list[psutil.Process]:
    found = [part.process.find() for part in known.parts.values() if part.process]
    return [process for process in found if process]


def test_sigterm_stops_all_within_ten_seconds(tmp_path: Path) -> None:
    with up(tmp_path) as supervisor:
        running = children(state.running(tmp_path))
        began = time.monotonic()
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(STOP_S_MAX) == 0
        assert time.monotonic() - began < STOP_S_MAX
        assert not any(process.is_running() for process in running)


def test_a_second_signal_stops_all_at_once(tmp_path: Path) -> None:
    with up(tmp_path) as supervisor:
        running = children(state.running(tmp_path))
        os.kill(running[0].pid, signal.SIGSTOP)  # a mongod that will not stop by itself
        supervisor.send_signal(signal.SIGINT)
        time.sleep(0.3)
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(2) == 130
        assert not psutil.wait_procs(running, timeout=2)[1]


def test_a_second_up_is_refused_and_the_doctor_knows_the_first(tmp_path: Path) -> None:
    with up(tmp_path) as supervisor:
        refused = mercato("up", "--services", "", data_dir=tmp_path)
        port = state.running(tmp_path).ports["redis/redis"]
        answer = mercato("doctor", "--json", "--port", str(port), data_dir=tmp_path)
    assert refused.returncode == 1
    assert f"pid {supervisor.pid}" in refused.stderr
    assert "Traceback" not in refused.stderr
    check = next(each for each in json.loads(answer.stdout) if each["name"] == f"port {port}")
    assert check["ok"]
    assert str(tmp_path) in check["detail"]


def test_a_platform_left_running_is_seen_and_stopped_from_elsewhere(tmp_path: Path) -> None:
    started = mercato("up", "--detach", "--services", "", data_dir=tmp_path)
    try:
        assert started.returncode == 0, started.stderr
        assert "ready" in started.stdout.splitlines()[-1]
        status = mercato("status", "--json", data_dir=tmp_path)
        assert status.returncode == 0
        parts = {part["name"]: part for part in json.loads(status.stdout)["parts"]}
        assert set(parts) == {"mongo", "redis", "nats", "mailbox", "supervisor"}
        assert sum(part["rss_mib"] for part in parts.values()) < 400
        assert mercato("logs", "nats", "-n", "5", data_dir=tmp_path).stdout.count("\n") == 5
    finally:
        stopped = mercato("down", "--json", data_dir=tmp_path)
    assert json.loads(stopped.stdout) == {"stopped": True}
    assert mercato("status", data_dir=tmp_path).returncode == 3
    assert json.loads(mercato("down", "--json", data_dir=tmp_path).stdout) == {"stopped": False}


def test_no_password_of_secure_mode_is_written_where_no_terminal_is(tmp_path: Path) -> None:
    started = mercato("up", "--secure", "--detach", "--services", "", data_dir=tmp_path)
    try:
        assert started.returncode == 0, started.stderr
        known = state.running(tmp_path)
        assert len(known.logins) == 2
        assert all(email in started.stdout for email in known.logins)
        assert not any(password in started.stdout for password in known.logins.values())
        assert str(tmp_path / PASSWORDS_FILE) in started.stdout
    finally:
        mercato("down", data_dir=tmp_path)


def test_a_taken_port_names_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PlatformError, match=f"pid {os.getpid()}") as refusal:
            demand(port)
    assert "--port" in refusal.value.remedy
    demand(port)


def test_a_taken_gateway_port_stops_up_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = mercato("up", "--port", str(port), data_dir=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: port {port} is taken by ")


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    assert mercato("upp", data_dir=tmp_path).returncode == 2


def test_doctor_answers_programs_too(tmp_path: Path) -> None:
    checks = json.loads(mercato("doctor", "--json", "--port", "0", data_dir=tmp_path).stdout)
    assert all(check["ok"] for check in checks)
    assert {"glibc", "avx", "libraries", "disk", "mongod"} <= {check["name"] for check in checks}

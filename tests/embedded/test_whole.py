"""All ten parts together, as a user starts them: how soon they are ready, how small, how gone."""

import os
import signal
import time
from pathlib import Path

import psutil

from mercato.embedded import state
from mercato.embedded.ports import any_free
from tests.embedded.test_up import children, mercato, up

READY_S_MAX = 8.0
GONE_S_MAX = 5.0
STOP_S_MAX = 10.0
MEMORY_BYTES_MAX = 900 * 1000 * 1000


def test_the_whole_platform_is_ready_soon_small_and_gone_when_killed_or_stopped(
    tmp_path: Path,
) -> None:
    port = str(any_free())
    began, busy_before_s = time.monotonic(), busy_s()
    with up(tmp_path, "--port", port) as supervisor:
        took_s, spent_s = time.monotonic() - began, busy_s() - busy_before_s
        parts = children(state.running(tmp_path))
        assert len(parts) == 10
        everything = [*parts, psutil.Process(supervisor.pid)]
        others_s = spent_s - sum(sum(process.cpu_times()[:4]) for process in everything)
        assert took_s - max(0, others_s) / (os.cpu_count() or 1) < READY_S_MAX
        assert sum(process.memory_info().rss for process in everything) < MEMORY_BYTES_MAX
        descendants = everything[-1].children(recursive=True)
        assert {*parts} <= {*descendants}
        supervisor.kill()
        supervisor.wait()
        assert psutil.wait_procs(descendants, timeout=GONE_S_MAX)[1] == []
    known = state.read(tmp_path)
    assert known is not None
    assert not known.alive
    assert mercato("status", data_dir=tmp_path).returncode == 3
    with up(tmp_path, "--port", port) as supervisor:
        parts = children(state.running(tmp_path))
        assert len(parts) == 10
        began = time.monotonic()
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(STOP_S_MAX) == 0
        assert time.monotonic() - began < STOP_S_MAX
        assert not any(process.is_running() for process in parts)


def busy_s() -> float:
    """Processor seconds that the machine has spent so far, on whomever."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait

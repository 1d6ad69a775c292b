"""All ten parts together, as a user starts them: how soon they are ready, how small, how gone."""

import os
import signal
import time
from pathlib import Path

import psutil

from mercato.embedded import state
from mercato.embedded.ports import any_free
from tests.embedded.test_up import children, up

READY_S_MAX = 8.0
STOP_S_MAX = 10.0
MEMORY_BYTES_MAX = 900 * 1000 * 1000


def test_the_whole_platform_is_ready_soon_small_and_gone_after_ctrl_c(tmp_path: Path) -> None:
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # others on this machine
    began = time.monotonic()
    with up(tmp_path, "--port", str(any_free())) as supervisor:
        assert time.monotonic() - began < READY_S_MAX * crowd
        parts = children(state.running(tmp_path))
        assert len(parts) == 10
        everything = [*parts, psutil.Process(supervisor.pid)]
        assert sum(process.memory_info().rss for process in everything) < MEMORY_BYTES_MAX
        began = time.monotonic()
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(STOP_S_MAX) == 0
        assert time.monotonic() - began < STOP_S_MAX
        assert not any(process.is_running() for process in parts)

"""All nine parts together: how soon they are ready and how little memory they take."""

import os
import time
from pathlib import Path

import psutil

from mercato.embedded.supervisor import Platform

READY_S_MAX = 8.0
MEMORY_BYTES_MAX = 900 * 1000 * 1000


async def test_the_whole_platform_is_ready_soon_and_small(tmp_path: Path) -> None:
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # others on this machine
    began = time.monotonic()
    async with Platform.open(tmp_path) as platform:
        assert time.monotonic() - began < READY_S_MAX * crowd
        processes = [part.process.find() for part in platform.parts().values() if part.process]
        memory = sum(process.memory_info().rss for process in processes if process)
        assert len(processes) == 9
        assert memory + psutil.Process().memory_info().rss < MEMORY_BYTES_MAX
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert not any(process and process.is_running() for process in processes)

"""Runs the simulation on copies of the source, each in a process forked after the slow imports.

Reads a copy's folder from each line of its input; writes `verdict.json` into it.
"""

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

WORKERS: Final = 2
VERDICT: Final = "verdict.json"
# what our code imports and what takes long; none of our own modules, they differ in each copy
SLOW: Final = (
    *("aiosmtplib", "bson", "css_inline", "google.rpc.status_pb2", "grpc", "grpc.aio"),
    *("grpc_health.v1.health_pb2_grpc", "jinja2", "joserfc.jwt", "msgspec", "nats", "nats.js"),
    *("prometheus_client", "protovalidate", "pymongo", "redis.asyncio", "structlog"),
)


def main() -> None:
    for name in SLOW:
        importlib.import_module(name)
    gc.freeze()
    seeds, running = int(sys.argv[1]), 0
    for line in sys.stdin:
        if running == WORKERS:
            os.wait()
            running -= 1
        if os.fork() == 0:
            look_at(Path(line.strip()), seeds)
            return
        running += 1
    for _ in range(running):
        os.wait()


def look_at(folder: Path, seeds: int) -> None:
    """Runs seeds on the source in `folder` until one finds something."""
    sys.path.insert(0, str(folder / "src"))
    import mercato
    from tests.simulation.run import simulate

    if not str(mercato.__file__).startswith(str(folder)):
        raise RuntimeError(f"this is not the copy: {mercato.__file__}")
    started, found, seed = time.process_time(), "", 0
    for seed in range(seeds):
        outcome = simulate(seed)
        if outcome.findings:
            found = outcome.findings[0]
            break
    told = {"found": found, "seeds": seed + 1, "took_s": time.process_time() - started}
    (folder / VERDICT).write_text(json.dumps(told))


if __name__ == "__main__":
    main()

"""One service in this process, soon: with no more imported than it needs."""

import asyncio
import gc
import importlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from mercato.cli.ending import told

SERVICES: Final = {
    **{name: name for name in ("user", "inventory", "order", "mailer", "gateway", "audit")},
    **{name: f"embedded.{name}" for name in ("mailbox", "balancer")},
}


def main(name: str) -> None:
    """Serves until SIGTERM or Ctrl-C; other failures end as those of a command do."""
    if name not in SERVICES:
        from mercato.cli.app import main as command

        command()  # which says what there is
        return
    with told():
        run(name)


def run(name: str) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    serving = _imported(f"mercato.{SERVICES[name]}.main")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving())


def _imported(module: str) -> Callable[[], Coroutine[Any, Any, None]]:
    """Returns the module's `main`.

    What it imports stays for good, so nothing is gained by looking for garbage in it, and structlog
    does without rich, with which it would draw tracebacks on a terminal: ours are JSON.
    """
    gc.disable()
    drawing = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    try:
        serving: Callable[[], Coroutine[Any, Any, None]] = importlib.import_module(module).main
    finally:
        if drawing is None:
            del sys.modules["rich"]
    gc.freeze()
    gc.enable()
    return serving

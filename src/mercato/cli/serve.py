"""`mercato serve`: one service in this process, configured by its environment alone."""

import asyncio
import importlib
from typing import Annotated, Literal

import uvloop
from cyclopts import Parameter

from mercato.cli.terminal import DataDir
from mercato.embedded.state import DEFAULT_DATA_DIR

Service = Literal["user", "inventory", "order", "mailer", "gateway", "audit", "mailbox", "balancer"]


def serve(
    service: Annotated[Service, Parameter(help="Which one.")],
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Run one service as in production, until SIGTERM or Ctrl-C."""
    embedded = "embedded." if service in ("mailbox", "balancer") else ""
    package = f"mercato.{embedded}{service}"
    main = importlib.import_module(f"{package}.main").main
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

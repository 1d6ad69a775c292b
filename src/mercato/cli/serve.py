"""`mercato serve`: one service in this process, configured by its environment alone."""

from typing import Annotated, Literal

from cyclopts import Parameter

from mercato.cli.service import run
from mercato.cli.terminal import DataDir
from mercato.embedded.state import DEFAULT_DATA_DIR

Service = Literal["user", "inventory", "order", "mailer", "gateway", "audit", "mailbox", "balancer"]


def serve(
    service: Annotated[Service, Parameter(help="Which one.")],
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Run one service as in production, until SIGTERM or Ctrl-C."""
    run(service)

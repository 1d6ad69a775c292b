"""Names every command; each is imported only when it is called."""

import sys
from importlib.metadata import version

from cyclopts import App, Parameter

COMMANDS = {
    "up": "Start the whole platform here, and keep it running until Ctrl-C.",
    "down": "Stop the platform that runs on this data directory.",
    "status": "Show each part: state, process, ports, uptime, memory, restarts.",
    "logs": "Show what the parts log.",
    "doctor": "Examine this machine: what is missing, and the command that mends it.",
    "serve": "Run one service as in production.",
    "health": "Ask one service of this machine whether it does its work.",
}

app = App(
    name="mercato",
    help="A commerce backend that keeps its word.",
    version=lambda: version("mercato"),
    default_parameter=Parameter(negative=()),
)
for name, summary in COMMANDS.items():
    app.command(f"mercato.cli.{name}:{name}", name=name, help=summary)


def main() -> None:
    """Runs a command; an expected failure is one line with its remedy and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as failure:
        from mercato.cli.terminal import explain

        if not explain(failure):
            raise
        sys.exit(1)

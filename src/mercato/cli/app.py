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
    "seed": "Put a demo catalogue on the shelves; once more puts everything back as it was.",
    "demo": "Walk a shopper's whole journey on a running platform, and check each step.",
}
EXAMPLES = {
    "seed": """Examples:
  mercato seed
  mercato seed --json""",
    "demo": """It puts a product of its own on the shelf, and takes it away at the end.

Examples:
  mercato demo
  mercato demo --url https://shop.example.com --email admin@example.com""",
    "admin create": """Examples:
  mercato admin create --email you@example.com
  mercato admin create --email you@example.com < file-with-the-password""",
    "import products": """\
Our fields are sku, name and price, which are needed, and stock, category and description. \
--column names the column of a field that the file calls something else. Where the file and the \
options say nothing of a field, a product that is there keeps its own.

Of several good lines with one sku the first counts. Bad lines are reported and left out, so the \
same file may be imported again once it is mended.

Examples:
  mercato import products shop.csv --dry-run
  zcat shop.csv.gz | mercato import products - --delimiter ';' --errors bad.csv
  mercato import products orders.csv --encoding latin-1 --stock 1000 \\
      -c sku=StockCode -c name=Description -c price=UnitPrice

Exit code: 0 all lines were good, 1 some were bad, 2 the file cannot be read as products.""",
}

app = App(
    name="mercato",
    help="A commerce backend that keeps its word.",
    version=lambda: version("mercato"),
    default_parameter=Parameter(negative=()),
    help_format="plaintext",
)
admin = App(name="admin", help="Accounts of those who run the shop.")
imports = App(name="import", help="What comes from elsewhere.")
app.command(admin)
app.command(imports)
admin.command(
    "mercato.cli.admin:create",
    help="Make an account that may do everything.",
    help_epilogue=EXAMPLES["admin create"],
)
imports.command(
    "mercato.cli.importing:products",
    help="Put the products of a CSV file into the catalogue: new ones, and by sku those it has.",
    help_epilogue=EXAMPLES["import products"],
)
for name, summary in COMMANDS.items():
    epilogue = EXAMPLES.get(name)
    app.command(f"mercato.cli.{name}:{name}", name=name, help=summary, help_epilogue=epilogue)


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

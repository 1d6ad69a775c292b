"""Names every command; each is imported only when it is called."""

import sys
from collections.abc import Sequence

from cyclopts import App, Parameter

from mercato.cli.ending import told

COMMANDS = {
    "up": "Start the whole platform here, and keep it running until Ctrl-C.",
    "secure": "Make certificates, passwords and rights for a shop in containers.",
    "down": "Stop the platform that runs on this data directory.",
    "restart": "Restart services one copy after the other; in a cluster nobody notices.",
    "status": "Show each part: state, process, ports, uptime, memory, restarts.",
    "logs": "Show what the parts log.",
    "doctor": "Examine this machine: what is missing, and the command that mends it.",
    "serve": "Run one service as in production.",
    "health": "Ask one service of this machine whether it does its work.",
    "seed": "Put a demo catalogue on the shelves; once more puts everything back as it was.",
    "demo": "Walk a shopper's whole journey on a running platform, and check each step.",
    "admin create": "Make an account that may do everything.",
    "keys list": "List the keys that sign users' tokens: which one signs, which are known yet.",
    "keys rotate": "Make the key that signs next; nobody is signed out by it.",
    "keys disown": "Take a key away at once and for good: its tokens are refused.",
    "clients add": "Register a program that may ask users for access, by OAuth 2.",
    "clients list": "List the programs that are registered.",
    "clients remove": "Remove a program: it gets no token any more.",
    "import products": (
        "Put the products of a CSV file into the catalogue: new ones, and by sku those it has."
    ),
    "verify": "Read the databases at one instant and tell which promises do not hold.",
    "events dead": "List the events that no service could understand, the newest first.",
    "events replay": "Tell dead letters once more, after what they died of has been mended.",
    "backup": "Write the whole database, as it is at one moment, into a new folder.",
    "restore": "Bring a backup back into the database of a platform that is stopped.",
    "storm": "Put a whole platform of its own under load and faults, and give a verdict.",
    "mail parked": "List the mails that may have been sent, or that were refused for good.",
    "mail resolve": "Say what became of a mail, or have it sent again.",
    "security events": "List failed logins, refused permissions, deeds of admins; newest first.",
}
GROUPS = {
    "admin": "Accounts of those who run the shop.",
    "keys": "The keys that sign users' tokens.",
    "clients": "Other people's programs, which act for a user by OAuth 2.",
    "import": "What comes from elsewhere.",
    "events": "Events that need a person.",
    "mail": "Mails that need a person.",
    "security": "What looks like misuse.",
}
MODULES = {"import": "importing"}  # where the group's name is a word of Python's own
FUNCTIONS = {"list": "list_"}  # and where the command's name is one
EXAMPLES = {
    "secure": """\
What `mercato up --secure` does for itself, this does for deploy/compose.secure.yaml and for \
servers of yours: a folder for each service and server. What is there is kept; certificates that \
near their end are renewed. Keep tls/ca.key and passwords.json to yourself.

Examples:
  mercato secure ./secure""",
    "down": """Examples:
  mercato down
  mercato down --data-dir /srv/shop

Exit code: 0 none runs there any more, or none did; 1 it did not stop in time.""",
    "restart": """Examples:
  mercato restart
  mercato restart order
  mercato restart mongo-1 nats-1""",
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
    "keys list": """Examples:
  mercato keys list
  mercato keys list --json""",
    "keys rotate": """\
The new key is published at once and signs after --delay seconds, by when every process, and who \
caches /.well-known/jwks.json, has read it. The platform need not run.

Examples:
  mercato keys rotate
  mercato keys rotate --algorithm Ed25519 --delay 300""",
    "keys disown": """\
For a key that somebody else may have. It leaves both files, and its tokens are refused within \
half a second: whoever has one needs a new one, by the refresh token. If it signed, another key is \
made that signs at once. The platform need not run.

Examples:
  mercato keys disown 3kP0aZ1xQv9LwT7c""",
    "clients add": """\
Its secret is shown once and kept as a hash only; --public is for programs that can keep none. \
Scopes and grants are the most that it may ever ask for.

Examples:
  mercato clients add "Ada's ledger" --redirect-uri https://ledger.example/back \\
      --scope openid --scope orders:read --scope offline_access
  mercato clients add "Phone app" --public --redirect-uri com.example.app:/back
  mercato clients add "Accounts" --grant client_credentials --scope orders:read --json""",
    "clients list": """Examples:
  mercato clients list
  mercato clients list --json""",
    "clients remove": """Examples:
  mercato clients remove 6b02f3bd03c86491ab6d36e7""",
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
    "backup": """\
The platform may run and write meanwhile. The folder appears whole or not at all; what is in it \
mongorestore reads too. mongod keeps its past for minSnapshotHistoryWindowInSeconds (300): a \
backup that takes longer fails, and says so.

Examples:
  mercato backup /backups/monday
  mercato backup --gzip /backups/monday --json""",
    "restore": """\
Every file is checked before anything is written. With MONGO_URI in the environment that database \
is meant, and the services must be stopped; without, the servers of --data-dir are started for it. \
Our keys in Redis and the messages of the event stream are deleted, because they tell of what has \
not happened in the restored database. Mails that waited are parked: they may have gone out since.

Examples:
  mercato restore /backups/monday
  mercato restore /backups/monday --data-dir /srv/shop --replace --yes

Exit code: 0 the restored database is in order, 1 it is not, or nothing was restored.""",
    "verify": """\
Everything is read at one instant, so orders under way raise no false alarm. --repair adds ledger \
rows and reservations that are missing and tells facts and mails again; it changes no history, and \
takes the stock as it stands for the truth.

Examples:
  mercato verify
  mercato verify --json --examples 100
  mercato verify --repair --dry-run
  mercato verify --repair --yes

Exit code: 0 every promise holds, 1 there are findings, 2 it cannot be told, 3 no platform runs.""",
    "events dead": """Examples:
  mercato events dead
  mercato events dead --limit 1000 --json""",
    "events replay": """\
A letter is published as it came; who has done what it says does not do it twice. One that still \
cannot be understood is dead again. An order that inventory has answered with invalid_event is \
answered so again, not applied: place a new one.

Examples:
  mercato events replay 3f2a9c41d0e7
  mercato events replay --all

Exit code: 0 all were published, 1 the stream did not take one; the rest is left as it was.""",
    "storm": """\
Services are killed, servers wiped, connections cut, and replies dropped after their request was \
applied, while clients repeat every order under its key until it is answered. The verdict is read \
from the database and the mailbox. A seed brings the same faults at the same moments.

Examples:
  mercato storm
  mercato storm --orders 3000 --minutes 0.33 --faults services,network
  mercato storm --seed 7 --data-dir /tmp/storm --report /tmp/report

Exit code: 0 every promise was kept, 1 one was not, 2 it was asked for wrongly.""",
    "mail parked": """Examples:
  mercato mail parked
  mercato mail parked --json""",
    "mail resolve": """\
A PARKED mail was on its way when its sender or the mail server was lost. Look for its Message-ID \
in the mail server's log before you answer. A FAILED mail can only be sent again.

Examples:
  mercato mail resolve 6b02f3bd03c86491ab6d36e7:order-confirmed --sent
  mercato mail resolve 6b02f3bd03c86491ab6d36e7:order-confirmed --send-again""",
    "security events": """\
Kinds: login.failed, login.succeeded, lockout, token.reuse, session.ended, permission.refused, \
admin.action, password.changed, password.reset, totp.enabled, totp.disabled, client.registered, \
client.removed, key.rotated, rate.limited. What strangers cause is gathered for five seconds and \
counted.

Examples:
  mercato security events --since 1h
  mercato security events --kind admin.action --json
  mercato security events --kind login.failed --follow""",
}


def _version() -> str:
    from importlib.metadata import version

    return version("mercato")


app = App(
    name="mercato",
    help="A commerce backend that keeps its word.",
    help_epilogue=(
        "Exit code of every command: 0 done, 1 it failed, 2 an option or a setting is wrong, "
        "3 no platform runs there. With --json a failure is an object with its error and remedy."
    ),
    version=_version,
    default_parameter=Parameter(negative=()),
    help_format="plaintext",
)
groups = {name: App(name=name, help=summary) for name, summary in GROUPS.items()}
for group in groups.values():
    app.command(group)
for words, summary in COMMANDS.items():
    first, _, name = words.partition(" ")
    groups.get(first, app).command(
        f"mercato.cli.{MODULES.get(first, first)}:{FUNCTIONS.get(name, name) or first}",
        name=name or first, help=summary, help_epilogue=EXAMPLES.get(words),
    )  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Runs a command, by default the one that this process was started with.

    An expected failure is told without a traceback, and is exit code 1; a wrong environment is 2,
    as a wrong option is; that no platform runs is 3.
    """
    words = sys.argv[1:] if words is None else words
    with told(json="--json" in words):
        app(words)

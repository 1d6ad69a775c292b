"""Shows a platform come up: a live table on a terminal, plain lines anywhere else."""

import re
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mercato.embedded.plan import LOGINS
from mercato.embedded.state import Phase, PlatformState


class Progress:
    """`tell` fits `Platform.open`; after `finish` it reports only deaths and returns."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._started = False
        self._stopping = False
        self._parts: dict[str, tuple[Phase, str]] = {}
        self._spinner = Spinner("dots")
        animated = console.is_terminal and not quiet
        self._live = Live(console=console, get_renderable=self._table) if animated else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()

    def tell(self, name: str, phase: Phase, detail: str) -> None:
        """A part has changed."""
        came_back = phase == "ready" and self._parts.get(name, (phase, ""))[0] == "restarting"
        if not (phase == "starting" and name in self._parts):  # the cause of a restart stays shown
            self._parts[name] = (phase, detail)
        if self._stopping:
            return
        if phase == "restarting" or (came_back and self._started):
            self._console.print(f"[yellow]{name}[/] {phase}: {detail}")
        elif phase == "ready" and not (self._live or self._quiet):
            self._console.print(f"{name} ready in {detail}")

    def finish(self) -> None:
        """Ends the live view: all is ready, or nothing will be."""
        self._started = True
        if self._live:
            self._live.stop()
            self._live = None

    def stopping(self) -> None:
        """The user wants it to end."""
        self._stopping = True
        self.finish()
        self._console.print("stopping; once more to stop at once")

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for name, (phase, detail) in self._parts.items():
            mark = Text("✓", style="green") if phase == "ready" else self._spinner
            table.add_row(mark, name, Text(f"{phase} {detail}", style="dim"))
        return table


def summarise(console: Console, known: PlatformState, kept_in: str = "") -> None:
    """The addresses of everything, and the demo logins; a table might cut an address off.

    `kept_in` names what other passwords than the public ones are read in, if they are not shown.
    """
    lines = [(name, f"[bold]{url}[/]") for name, url in known.urls.items()]
    for name, variable in (("mongo", "MONGO_URI"), ("redis", "REDIS_ADDR"), ("nats", "NATS_URL")):
        yours = variable in known.external  # may hold a password
        address = without_login(known.environment[variable])
        lines.append((name, f"yours ({variable})" if yours else address))
    if known.secure:
        lines.append(("trust", known.environment["GRPC_CA_FILE"]))
    for name, part in known.parts.items():
        if "grpc" in part.ports:
            grpc, metrics = part.ports["grpc"], part.ports["metrics"]
            lines.append((name, f"grpc 127.0.0.1:{grpc}, http://127.0.0.1:{metrics}/metrics"))
    for email, password in known.logins.items():
        hidden = kept_in if password != LOGINS.get(email) else ""
        lines.append(("log in as", f"{email}  {hidden or password}"))
    width = max(len(name) for name, _ in lines)
    for name, address in lines:
        console.print(f"{name:<{width}}  {address}", soft_wrap=True)


def without_login(url: str) -> str:
    """Returns a URL, or several with commas, without the name and the password in it."""
    return re.sub(r"://[^@/,]*@", "://", url)

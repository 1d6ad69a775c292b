"""What `mercato up` says of a platform that has come up."""

import io

from rich.console import Console

from mercato.cli.progress import summarise
from mercato.embedded.plan import LOGINS
from mercato.embedded.state import PlatformState

SERVERS = dict.fromkeys(("MONGO_URI", "REDIS_ADDR", "NATS_URL"), "127.0.0.1:1")


def said(logins: dict[str, str], kept_in: str) -> str:
    known = PlatformState(
        supervisor=None, ready=True, urls={}, environment=SERVERS, logins=logins, external=[],
        ports={}, parts={},
    )  # fmt: skip
    out = io.StringIO()
    summarise(Console(file=out), known, kept_in)
    return out.getvalue()


def test_public_passwords_are_shown_anywhere() -> None:
    shown = said(LOGINS, "(see a file)")
    assert all(f"{email}  {password}" in shown for email, password in LOGINS.items())


def test_other_passwords_are_shown_unless_a_file_is_named_in_their_stead() -> None:
    """A folder that was secure keeps its passwords when it is started without secure mode."""
    mine = dict.fromkeys(LOGINS, "of-nobody-else")
    assert said(mine, "").count("of-nobody-else") == len(mine)
    hidden = said(mine, "(see a file)")
    assert "of-nobody-else" not in hidden
    assert hidden.count("(see a file)") == len(mine)

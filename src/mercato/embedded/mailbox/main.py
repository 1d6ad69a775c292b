"""Runs the mailbox: SMTP and HTTP in one event loop, until SIGTERM or SIGINT."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from mercato.embedded.mailbox import smtp
from mercato.embedded.mailbox.store import Store
from mercato.embedded.mailbox.web import Web
from mercato.embedded.ports import LOOPBACK
from mercato.embedded.settings import MailboxSettings
from mercato.platform.settings import load


async def main() -> None:
    """Listens on loopback only, as a mailbox open to anyone must."""
    settings = load(MailboxSettings)
    store = Store(Path(settings.mailbox_dir))
    config = uvicorn.Config(
        Web(store),
        host=LOOPBACK,
        port=settings.port,
        lifespan="off",
        ws="none",
        log_level="warning",
        server_header=False,
    )
    listener = await smtp.listen(store, LOOPBACK, settings.smtp_port)
    try:
        await _Server(config).serve()
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """Ends by returning: uvicorn would raise the signal once more, and the process die of it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

"""The SMTP side: a message is answered 250 only when it is on the disk."""

import asyncio

from aiosmtpd.smtp import SMTP, Envelope, Session

from mercato.embedded.mailbox.store import Store

MESSAGE_BYTES_MAX = 10 * 1024 * 1024
IDLE_TIMEOUT_S = 300.0


class Delivery:
    """aiosmtpd calls the method of this name for each message."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """The reply to the final dot."""
        content = envelope.original_content or b""
        try:
            id = await asyncio.to_thread(
                self._store.add, content, envelope.mail_from or "", envelope.rcpt_tos
            )
        except OSError as failure:
            return f"451 4.3.0 the message could not be kept: {failure.strerror}"
        return f"250 2.0.0 kept as {id}"


async def listen(store: Store, host: str, port: int) -> asyncio.Server:
    """Accepts mail for anyone, without TLS or login: for loopback only."""
    loop = asyncio.get_running_loop()
    delivery = Delivery(store)

    def session() -> SMTP:
        return SMTP(
            delivery,
            data_size_limit=MESSAGE_BYTES_MAX,
            enable_SMTPUTF8=True,
            hostname="mailbox.localhost",  # else it asks the name service for every connection
            ident="Mercato mailbox",
            timeout=IDLE_TIMEOUT_S,
            loop=loop,
        )

    return await loop.create_server(session, host, port)

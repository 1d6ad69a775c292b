"""What accounts ask of the other services: that their mails be sent."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from mercato.kernel.errors import AppError
from mercato.pb import mailer_pb2
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.platform.outbox import Row
from mercato.platform.rpc import Channels
from mercato.user.model.letters import FORGOTTEN, Template
from mercato.user.model.links import LinkKey

# The gateway's pages that links lead to.
PAGES: Final = {
    Template.WELCOME: "/account/verify",
    Template.VERIFY_EMAIL: "/account/verify",
    Template.RESET_PASSWORD: "/account/reset",
    Template.ALREADY_REGISTERED: "/account/reset",
}

log = structlog.get_logger()


class Post:
    """Hands an outbox's mail rows to the mailer, whose queue takes each id once.

    Links get their tokens here, and lead to pages below `public_url`. Rows that ask for a new
    password are `answered` by ourselves.
    """

    def __init__(
        self,
        mailer: MailerServiceStub,
        channels: Channels,
        links: LinkKey,
        public_url: str,
        answered: Callable[[str], Awaitable[None]],
    ) -> None:
        self._mailer = mailer
        self._channels = channels
        self._links = links
        self._public_url = public_url.rstrip("/")
        self._answered = answered

    async def __call__(self, rows: Sequence[Row]) -> set[str]:
        """Returns the ids of the rows that are done with; no mail's while the mailer is away."""
        done = set()
        for row in rows:
            if row.subject == FORGOTTEN:
                try:
                    await self._answered(row.payload["email"])
                except AppError as refusal:
                    log.warning("a lost password waits", why=refusal.slug)
                else:
                    done.add(row.id)
        return done | await self._handed_over([row for row in rows if row.subject != FORGOTTEN])

    async def _handed_over(self, rows: Sequence[Row]) -> set[str]:
        if not rows:
            return set()
        request = mailer_pb2.QueueMailsRequest(mails=[self._mail(row) for row in rows])
        try:
            await self._channels.call(self._mailer.QueueMails, request)
        except AppError as refusal:
            log.warning("mails wait", why=refusal.slug, count=len(rows))
            return set()
        return {row.id for row in rows}

    def _mail(self, row: Row) -> mailer_pb2.Mail:
        link = ""
        if request := row.payload.get("request"):
            page = PAGES[Template(row.subject)]
            link = f"{self._public_url}{page}?token={self._links.token(request)}"
        return mailer_pb2.Mail(
            id=row.id, template=row.subject, to_email=row.payload["to_email"],
            username=row.payload["username"], link=link,
        )  # fmt: skip

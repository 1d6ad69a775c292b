"""What accounts ask of the other services: that their mails be sent."""

from collections.abc import Sequence

import structlog

from mercato.kernel.errors import AppError
from mercato.pb import mailer_pb2
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.platform.outbox import Row
from mercato.platform.rpc import Channels

log = structlog.get_logger()


class Post:
    """Hands an outbox's mail rows to the mailer, whose queue takes each id once."""

    def __init__(self, mailer: MailerServiceStub, channels: Channels) -> None:
        self._mailer = mailer
        self._channels = channels

    async def __call__(self, rows: Sequence[Row]) -> set[str]:
        """Returns the ids of the rows that the mailer has now; none while it is away."""
        request = mailer_pb2.QueueMailsRequest(mails=[_mail(row) for row in rows])
        try:
            await self._channels.call(self._mailer.QueueMails, request)
        except AppError as refusal:
            log.warning("mails wait", why=refusal.slug, count=len(rows))
            return set()
        return {row.id for row in rows}


def _mail(row: Row) -> mailer_pb2.Mail:
    return mailer_pb2.Mail(
        id=row.id, template=row.subject,
        to_email=row.payload["to_email"], username=row.payload["username"],
    )  # fmt: skip

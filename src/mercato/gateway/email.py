"""/api/email: mail that an admin sends."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import grpc
from msgspec import Meta

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import Answer, Email, Request, text
from mercato.kernel.errors import Violation
from mercato.kernel.heads import head_violations
from mercato.kernel.identity import Caller
from mercato.pb import mailer_pb2, mailer_pb2_grpc
from mercato.platform.rpc import Channels

DEADLINE_S: Final = 5.0  # an SMTP conversation takes its time


class Mail(Request, frozen=True):
    to_email: Email
    subject: Annotated[
        str,
        text(
            200,
            min_length=1,
            description="One line, without control characters and without `=?`.",
            examples=["News from the shop"],
        ),
    ]
    html_body: Annotated[str, text(200_000, min_length=1, examples=["<p>Hello</p>"])]

    @classmethod
    def further(cls, said: Mapping[str, str]) -> Iterable[Violation]:
        return head_violations(said.get("to_email", ""), said.get("subject", ""))


class Sent(Answer, frozen=True):
    status: Annotated[str, Meta(description="`sent`, or `queued` while it is still on its way.")]
    message: str


class Emails:
    """Mail to one person at a time."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._mailer = mailer_pb2_grpc.MailerServiceStub(channel)

    @operation("POST", "/api/email", Who.ADMIN, Sent)
    async def send(self, caller: Caller, body: Mail) -> Reply:
        """Send a mail."""
        request = mailer_pb2.SendEmailRequest(
            to_email=body.to_email, subject=body.subject, html_body=body.html_body
        )
        answer = await self._channels.call(
            self._mailer.SendEmail, request, speaks_for=caller, deadline_s=DEADLINE_S
        )
        return reply(Sent(answer.status, answer.message))

"""Mails in a list."""

from dataclasses import dataclass, field

from mercato.kernel.errors import Forbidden
from mercato.pb import mailer_pb2, mailer_pb2_grpc
from tests.gateway.fakes.service import Context, Service


@dataclass
class FakeMailer(Service, mailer_pb2_grpc.MailerServiceServicer):
    mails: list[mailer_pb2.SendEmailRequest] = field(default_factory=list)

    async def SendEmail(
        self, request: mailer_pb2.SendEmailRequest, context: Context
    ) -> mailer_pb2.SendEmailResponse:
        self.note("SendEmail")
        self.mails.append(request)
        return mailer_pb2.SendEmailResponse(status="sent", message="the mail is out")

    async def QueueMails(
        self, request: mailer_pb2.QueueMailsRequest, context: Context
    ) -> mailer_pb2.QueueMailsResponse:
        raise Forbidden("the gateway never asks for this")

"""The mailer's gRPC methods."""

from collections.abc import Callable
from typing import Any, Final

from mercato.kernel.clock import now
from mercato.kernel.identity import Party
from mercato.kernel.money import Money
from mercato.mailer.model import Line, Mail, Order, State, Templated, as_it_is
from mercato.mailer.usecase import Mailing
from mercato.pb import mailer_pb2, money_pb2, order_pb2
from mercato.pb.mailer_pb2_grpc import MailerServiceServicer
from mercato.platform import telemetry

WAIT_S_MAX: Final = 2.0
ANSWER_S: Final = 0.3  # of the caller's time, kept for storing the mail and for the way back

ALLOWED: Final[dict[str, frozenset[Party]]] = {
    "SendEmail": frozenset({"admin"}),
    "QueueMails": frozenset({"user", "order"}),
}


class MailerHandler(MailerServiceServicer):
    """Between protobuf and the model; `currency` is meant where a message names none.

    Links are kept `sealed`, each for the mail of its id.
    """

    def __init__(
        self, mailing: Mailing, currency: str, sealed: Callable[[str, str], str] = as_it_is
    ) -> None:
        self._mailing = mailing
        self._currency = currency
        self._sealed = sealed

    async def SendEmail(
        self, request: mailer_pb2.SendEmailRequest, context: Any
    ) -> mailer_pb2.SendEmailResponse:
        left_s = context.time_remaining() or 0.0
        outcome = await self._mailing.send(
            request="|".join(telemetry.headers().values()),
            to_email=request.to_email,
            subject=request.subject,
            html=request.html_body,
            wait_s=min(WAIT_S_MAX, left_s - ANSWER_S),
        )
        if outcome.state is State.SENT:
            return mailer_pb2.SendEmailResponse(
                status="sent", message="the mail server has taken the mail"
            )
        why = f" (so far: {outcome.reason})" if outcome.reason else ""
        message = f"the mail is in the queue and goes out when the mail server takes it{why}"
        return mailer_pb2.SendEmailResponse(status="queued", message=message)

    async def QueueMails(
        self, request: mailer_pb2.QueueMailsRequest, context: Any
    ) -> mailer_pb2.QueueMailsResponse:
        mails = [self._mail(mail) for mail in request.mails]
        return mailer_pb2.QueueMailsResponse(added=await self._mailing.queue(mails))

    def _mail(self, mail: mailer_pb2.Mail) -> Mail:
        order = self._order(mail.order) if mail.HasField("order") else None
        link = self._sealed(mail.link, mail.id) if mail.link else ""
        return Mail(
            id=mail.id,
            to_email=mail.to_email,
            content=Templated(
                template=mail.template, username=mail.username, order=order, link=link
            ),
            created_at=now(),
        )

    def _order(self, order: order_pb2.Order) -> Order:
        lines = (
            Line(name=item.name, quantity=item.quantity, unit_price=self._money(item.unit_price))
            for item in order.items
        )
        return Order(
            id=order.id, lines=tuple(lines), total=self._money(order.total), reason=order.reason
        )

    def _money(self, money: money_pb2.Money) -> Money:
        return Money(money.minor, money.currency or self._currency)

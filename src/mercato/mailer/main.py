"""The mailer service, put together."""

from collections.abc import Mapping
from typing import Final

import structlog

from mercato.kernel.clock import now
from mercato.kernel.heads import head_violations
from mercato.mailer.composing import Composer
from mercato.mailer.handler import ALLOWED, MailerHandler
from mercato.mailer.mailbox import Mailbox, Resolver
from mercato.mailer.repository import SHAPES, MongoMails
from mercato.mailer.sending import Sender
from mercato.mailer.settings import PORTS, MailerSettings
from mercato.mailer.smtp import MailServer
from mercato.mailer.usecase import Mailing
from mercato.pb import mailer_pb2
from mercato.pb.mailer_pb2_grpc import add_MailerServiceServicer_to_server
from mercato.platform import telemetry
from mercato.platform.mongo import Store
from mercato.platform.rpc import Identity, Rule, Server
from mercato.platform.run import run, until_ready
from mercato.platform.sealing import Sealer
from mercato.platform.settings import load
from mercato.platform.tokens import Tokens

NAME = "mailer"
FURTHER: Final[Mapping[str, Rule]] = {"SendEmail": lambda r: head_violations(r.to_email, r.subject)}

log = structlog.get_logger()


async def main() -> None:
    """Serves until SIGTERM or SIGINT; then finishes what it began."""
    s = load(MailerSettings)
    sender, server, identity = s.sender, mail_server(s), Identity.of(s)
    mailbox = Mailbox(s.mailbox_api) if s.mailbox_api else None
    sealer = Sealer(s.jwt_secret, "links in mails")
    compose = Composer(sender, sealer.open)
    telemetry.start(NAME, level=s.log_level, host=s.host, metrics_port=s.metrics_port)
    log.info(
        "mail goes out", by=f"{server.host}:{server.port}", tls=server.tls,
        login=bool(server.username), from_=str(sender), mailbox_api=bool(s.mailbox_api),
    )  # fmt: skip
    async with Store.open(s.mongo_uri, s.mongo_db_name) as store:
        await until_ready("mongo", lambda: store.ensure(SHAPES))
        mails = MongoMails(store, sender.domain)
        sending = Sender(mails, compose, server, connections=s.smtp_connections)
        mailing = Mailing(sending, now)
        service = mailer_pb2.DESCRIPTOR.services_by_name["MailerService"]
        grpc_server = Server([service], Tokens.of(s), ALLOWED, identity, FURTHER)
        handler = MailerHandler(mailing, s.currency, sealer.seal)
        add_MailerServiceServicer_to_server(handler, grpc_server.grpc)
        async with grpc_server.listen(s.host, s.port):
            await run(sending.run(), Resolver(mails, mailbox).run(), name=NAME)


def mail_server(s: MailerSettings) -> MailServer:
    """Where these settings send mail, and how it is spoken to."""
    tls = s.smtp_tls or ("starttls" if s.smtp_username else "none")
    return MailServer(
        host=s.smtp_host,
        port=s.smtp_port or PORTS[tls],
        username=s.smtp_username,
        password=s.smtp_password,
        tls=tls,
    )

"""The mailer service, put together."""

from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import getaddresses

import structlog

from mercato.kernel.clock import now
from mercato.mailer.composing import Composer
from mercato.mailer.handler import ALLOWED, MailerHandler
from mercato.mailer.mailbox import Mailbox, Resolver
from mercato.mailer.model import head_violations
from mercato.mailer.repository import SHAPES, MongoMails
from mercato.mailer.sending import Sender
from mercato.mailer.smtp import PORTS, MailServer, Tls
from mercato.mailer.usecase import Mailing
from mercato.pb import mailer_pb2
from mercato.pb.mailer_pb2_grpc import add_MailerServiceServicer_to_server
from mercato.platform import telemetry
from mercato.platform.mongo import Store
from mercato.platform.rpc import Identity, Server
from mercato.platform.run import run, until_ready
from mercato.platform.settings import Secret, Settings, SettingsError, load
from mercato.platform.tokens import Tokens

NAME = "mailer"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MailerSettings(Settings):
    """The mailer's environment.

    SMTP_TLS is `starttls`, `tls` or `none`: without it `starttls` when there is a user name, else
    `none`. SMTP_PORT 0 is 587, 465 or 25 accordingly. MAILBOX_API is the address of a Mailpit, or
    of what answers like one, that sees every mail: parked mails are looked up there.
    """

    port: int = 50054
    mongo_uri: Secret = Secret("mongodb://127.0.0.1:27017/?replicaSet=rs0")
    mongo_db_name: str = "ecommerce"
    smtp_host: str = "127.0.0.1"
    smtp_port: int = 0
    smtp_username: str = ""
    smtp_password: Secret = Secret("")
    smtp_from: str = "Mercato <no-reply@mercato.example>"
    smtp_tls: Tls | None = None
    smtp_connections: int = 4
    mailbox_api: str = ""

    @property
    def mail_server(self) -> MailServer:
        tls = self.smtp_tls or ("starttls" if self.smtp_username else "none")
        return MailServer(
            host=self.smtp_host,
            port=self.smtp_port or PORTS[tls],
            username=self.smtp_username,
            password=self.smtp_password,
            tls=tls,
        )

    @property
    def sender(self) -> Address:
        (name, address), *others = getaddresses([self.smtp_from])
        violations = list(head_violations(address, name))
        if violations or others:
            raise SettingsError("SMTP_FROM must be one address, like Shop <hello@shop.example>")
        return Address(name, addr_spec=address)

    @property
    def mailbox(self) -> Mailbox | None:
        if self.mailbox_api and not self.mailbox_api.startswith(("http://", "https://")):
            raise SettingsError("MAILBOX_API must be an http or https address")
        return Mailbox(self.mailbox_api) if self.mailbox_api else None


async def main() -> None:
    """Serves until SIGTERM or SIGINT; then finishes what it began."""
    s = load(MailerSettings)
    sender, server, mailbox, identity = s.sender, s.mail_server, s.mailbox, Identity.of(s)
    compose = Composer(sender)
    telemetry.start(NAME, level=s.log_level, host=s.host, metrics_port=s.metrics_port)
    log.info(
        "mail goes out", by=f"{server.host}:{server.port}", tls=server.tls,
        login=bool(server.username), from_=str(sender), mailbox_api=bool(s.mailbox_api),
    )  # fmt: skip
    async with Store.open(s.mongo_uri, s.mongo_db_name) as store:
        await until_ready("mongo", lambda: store.ensure(SHAPES))
        mails = MongoMails(store, sender.domain)
        sending = Sender(mails, compose, server, connections=s.smtp_connections)
        mailing = Mailing(mails, sending.soon, now)
        service = mailer_pb2.DESCRIPTOR.services_by_name["MailerService"]
        grpc_server = Server([service], Tokens(s.jwt_secret), ALLOWED, identity)
        add_MailerServiceServicer_to_server(MailerHandler(mailing, s.currency), grpc_server.grpc)
        async with grpc_server.listen(s.host, s.port):
            await run(sending.run(), Resolver(mails, mailbox).run(), name=NAME)

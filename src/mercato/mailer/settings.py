"""The environment of the mailer."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Annotated, Final, Literal

from msgspec import Meta

from mercato.kernel.heads import head_violations
from mercato.platform.settings import Secret, Settings

Tls = Literal["starttls", "tls", "none"]
PORTS: Final[dict[Tls, int]] = {"starttls": 587, "tls": 465, "none": 25}


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
    smtp_connections: Annotated[int, Meta(ge=1)] = 4
    mailbox_api: str = ""

    def problems(self) -> Iterator[str]:
        senders = getaddresses([self.smtp_from])
        if len(senders) != 1 or any(head_violations(senders[0][1], senders[0][0])):
            yield "SMTP_FROM must be one address, like Shop <hello@shop.example>"
        if self.mailbox_api and not self.mailbox_api.startswith(("http://", "https://")):
            yield "MAILBOX_API must be an http or https address"

    @property
    def sender(self) -> Address:
        ((name, address),) = getaddresses([self.smtp_from])
        return Address(name, addr_spec=address)

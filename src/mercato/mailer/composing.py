"""Builds a mail's bytes from its content: templates, MIME parts, and a head that is counted.

The templates' blocks are HTML comments (`<!--% if x %-->`), so that the CSS can be inlined once
into the template, at the start, and not into every mail.
"""

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.header import Header
from email.headerregistry import Address
from email.parser import BytesHeaderParser
from email.utils import format_datetime, formataddr, getaddresses
from importlib import resources
from typing import Any, Final

from css_inline import CSSInliner
from jinja2 import DictLoader, Environment, StrictUndefined, Template

from mercato.kernel.errors import Invalid
from mercato.kernel.heads import head_violations
from mercato.mailer.model import Mail, Templated, Written, as_it_is
from mercato.mailer.plaintext import plaintext

SUBJECTS: Final = {
    "welcome": "Welcome to {shop}",
    "order-confirmed": "Order {id} confirmed",
    "order-cancelled": "Order {id} cancelled",
    "order-completed": "Order {id} completed",
    "verify-email": "Verify your e-mail address",
    "reset-password": "Set a new password",
    "already-registered": "You have an account already",
    "password-changed": "Your password was changed",
    "email-changed": "Your e-mail address was changed",
    "second-factor-on": "Signing in now takes a code",
    "second-factor-off": "Signing in takes no code any more",
}
HEAD: Final = (
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("MIME-Version", "Content-Type"),
)
REASONS: Final = {
    "out_of_stock": "we do not have enough left of what you ordered",
    "unknown_product": "something that you ordered is no longer in our catalogue",
    "cancelled_by_customer": "you cancelled it yourself",
    "cancelled_by_shop": "the shop cancelled it",
    "expired": "it was not completed in time",
    "invalid_event": "we could not process it",
}

BOUNDARY: Final = "=_mercato"
CRLF: Final = "\r\n"
LINE_MAX: Final = 78  # RFC 5322, 2.1.1

# A head in which every field is one line of printable ASCII says the same to every reader.
_PLAIN_HEAD: Final = re.compile("\r\n".join(f"{name}: ([ -~]+)" for name in HEAD).encode())
_INCLUDE: Final = re.compile(r"<!-- (\S+) -->")
# Lines that every mail server takes (RFC 5321, 4.5.3.1.6), and none that could end the part.
_AS_IT_IS: Final = re.compile(rf"(?:(?!--{BOUNDARY})[\t -~]{{0,990}}(?:\n|\Z))*")


@dataclass(frozen=True, slots=True)
class Letter:
    """What goes to the mail server: one sender, one recipient, and bytes with CRLF line ends."""

    sender: str
    recipient: str
    content: bytes


class Composer:
    """Builds letters from `sender`; a template that does not parse is found at the start.

    `opened` gives a link that was sealed for the mail of an id.
    """

    def __init__(self, sender: Address, opened: Callable[[str, str], str] = as_it_is) -> None:
        self._sender = sender
        self._from = _field("From", formataddr((sender.display_name, sender.addr_spec)))
        self._opened = opened
        self._shop = sender.display_name or sender.domain
        self._html, self._text = _templates()

    def __call__(self, mail: Mail) -> Letter:
        """Returns `mail` as a letter; raises Invalid or a TemplateError when it cannot be built."""
        if isinstance(mail.content, Written):
            subject, html = mail.content.subject, mail.content.html
            text = plaintext(html)
        else:
            subject, html, text = self._written(mail.content, mail.id)
        violations = tuple(head_violations(mail.to_email, subject))
        if violations:
            raise Invalid("the mail's head cannot be written", violations)
        content = self._content(mail, subject, text, html)
        _count_head(content, mail.to_email)
        return Letter(self._sender.addr_spec, mail.to_email, content)

    def _written(self, content: Templated, mail_id: str) -> tuple[str, str, str]:
        name, order = content.template, content.order
        subject = SUBJECTS[name].format(shop=self._shop, id=order.id if order else "")
        values: dict[str, Any] = {
            "shop": self._shop,
            "subject": subject,
            "username": content.username,
            "link": self._opened(content.link, mail_id) if content.link else "",
            "order": order,
            "reason": REASONS.get(order.reason, "") if order else "",
        }
        return subject, self._html[name].render(values), self._text[name].render(values)

    def _content(self, mail: Mail, subject: str, text: str, html: str) -> bytes:
        head = {
            "To": mail.to_email,  # one address, or we would not be here
            "Subject": subject,
            "Date": format_datetime(mail.created_at),
            "Message-ID": f"<{mail.message_id}>",
            "Auto-Submitted": "auto-generated",
            "MIME-Version": "1.0",
            # no line of a part may begin so
            "Content-Type": f'multipart/alternative; boundary="{BOUNDARY}"',
        }
        lines = [self._from, *(_field(name, value) for name, value in head.items()), ""]
        for kind, part in (("plain", text), ("html", html)):
            lines += (f"--{BOUNDARY}", f'Content-Type: text/{kind}; charset="utf-8"')
            encoding, body = _encoded(part)
            lines += (f"Content-Transfer-Encoding: {encoding}", "", body)
        return "\r\n".join((*lines, f"--{BOUNDARY}--", "")).encode("ascii")


def _field(name: str, value: str) -> str:
    """Returns a field of the head; one that is long or not plain ASCII is encoded (RFC 2047)."""
    if value.isascii() and value.isprintable() and len(name) + len(value) <= LINE_MAX - 2:
        return f"{name}: {value}"
    charset = "us-ascii" if value.isascii() else "utf-8"
    return f"{name}: {Header(value, charset, header_name=name).encode(linesep=CRLF)}"


def _encoded(text: str) -> tuple[str, str]:
    """Returns the encoding (RFC 2045, 6) and `text` in it, in lines that end in CRLF.

    What can go as it is does: half the lines, and less work for everybody on the way.
    """
    plain = re.sub(r"\r\n?", "\n", text)
    if _AS_IT_IS.fullmatch(plain):
        return "7bit", plain.replace("\n", CRLF)
    quoted = binascii.b2a_qp(plain.encode(errors="replace"), istext=True)
    return "quoted-printable", quoted.decode("ascii").replace("\n", CRLF)


def _count_head(content: bytes, recipient: str) -> None:
    """Reads the head as a stranger would; raises Invalid when it says more than was meant."""
    octets = content.partition(b"\r\n\r\n")[0]
    plain = _PLAIN_HEAD.fullmatch(octets)
    if plain and plain[1 + HEAD.index("To")].decode() == recipient:
        return
    head = BytesHeaderParser().parsebytes(octets + b"\r\n\r\n")
    if tuple(head.keys()) != HEAD:
        raise Invalid("the mail's head would have other fields than it should")
    if [address for _, address in getaddresses([str(head["To"])])] != [recipient]:
        raise Invalid("the mail would have another recipient than it should")


def _templates() -> tuple[Mapping[str, Template], Mapping[str, Template]]:
    """Returns the HTML and the text templates by name, with CSS inlined and compiled."""
    folder = resources.files("mercato.mailer") / "templates"
    files = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.is_file()}
    inliner = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
    html = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        block_start_string="<!--%", block_end_string="%-->",
        comment_start_string="<!--#", comment_end_string="#-->",
    )  # fmt: skip
    text = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,  # noqa: S701
        loader=DictLoader(files),
    )  # fmt: skip
    return (
        {n: html.from_string(inliner.inline(_page(files.__getitem__, n))) for n in SUBJECTS},
        {n: text.get_template(f"{n}.txt") for n in SUBJECTS},
    )


def _page(read: Callable[[str], str], name: str) -> str:
    """Returns the layout with its content, and whatever `<!-- file -->` that names, in place."""
    page = read("layout.html").replace("<!-- content -->", f"<!-- {name}.html -->")
    while _INCLUDE.search(page):
        page = _INCLUDE.sub(lambda found: read(found[1]), page)
    return page

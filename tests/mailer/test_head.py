"""Nobody adds recipients or header fields to a mail."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.headerregistry import Address
from random import Random

import pytest

from mercato.kernel.errors import Invalid
from mercato.kernel.heads import head_violations
from mercato.mailer.composing import HEAD, Composer, _count_head
from mercato.mailer.model import Mail, Order, Templated, Written, message_id
from tests.mailer.conftest import DOMAIN, a_mail

VALUES = 12_000
# What breaks heads: line ends of every alphabet, encoded words, separators, and plain text.
PIECES = [
    *("\r", "\n", "\r\n", "\r\n ", "\x00", "\x0b", "\x0c", "\x1c", "\x1e", "\x7f", "\x85", "\x9b"),
    *("\u2028", "\u2029", "\ud800", "\udfff", "\ufeff", "\u202e", "\t", "=?", "?=", "=", "?"),
    *("=?utf-8?q?=0D=0ABcc:_eve@x.example?=", "=?utf-8?b?DQpCY2M6IGVAeC5l?=", "=?x?q?=0A?="),
    *("\nBcc: eve@x.example", "\r\n\r\n<b>body</b>", "\r\n.\r\nMAIL FROM:<e@x.example>"),
    *(", eve@x.example", "; eve@x.example", "<eve@x.example>", "group: eve@x.example;", "@", "@@"),
    *(
        "ada",
        "shop.example",
        "ada@shop.example",
        "xn--bcher-kva.example",
        "Büche.example",
        "..",
        ".",
    ),
    *(
        '"',
        "'",
        "\\",
        "(comment)",
        " ",
        "  ",
        ":",
        "To:",
        "Subject",
        "漢字",
        "é",
        "😀",
        "%0a",
        "+tag",
    ),
    *(
        "a" * 70,
        "b" * 250,
        "..",
        ".",
        "%0a",
        "+tag",
        "-",
        "_",
        "[127.0.0.1]",
        "a@b",
        "!#$%&'*/=^`{|}~",
    ),
]


def written(to: str, subject: str) -> Mail:
    return Mail(
        id="a" * 24 + ":given",
        to_email=to,
        content=Written(subject=subject, html="<p>hello</p>"),
        created_at=datetime.now(UTC),
        message_id=message_id("a" * 24 + ":given", DOMAIN),
    )


def fields(content: bytes) -> list[tuple[str, str]]:
    """The head as the simplest of readers sees it: any line end ends a line."""
    head = re.split(rb"\r\n\r\n|\n\n|\r\r", content)[0].decode("ascii")
    unfolded = re.sub(r"(\r\n|\n|\r)[ \t]", " ", head)
    return [tuple(line.split(": ", 1)) for line in unfolded.splitlines()]  # type: ignore[misc]


def test_generated_addresses_and_subjects_add_nothing(compose: Composer) -> None:
    random = Random(20261122)
    accepted = {"to": 0, "subject": 0}
    for number in range(VALUES):
        text = "".join(random.choices(PIECES, k=random.choice((1, 1, 2, 3, 6))))
        which = ("to", "to", "subject")[number % 3]
        text += "@shop.example" if number % 3 == 1 else ""
        mail = written(text, "Hello") if which == "to" else written("ada@shop.example", text)
        try:
            letter = compose(mail)
        except Invalid as refusal:
            assert refusal.violations, "found by the guard, before it is written"  # noqa: PT017
            continue
        accepted[which] += 1
        found = fields(letter.content)
        assert tuple(name for name, _ in found) == HEAD
        values = dict(found)
        assert letter.recipient == values["To"] == mail.to_email
        assert letter.recipient.count("@") == 1
        assert not set(letter.recipient) & set(' \t\r\n,;:<>()"\\')
        subject = str(make_header(decode_header(values["Subject"])))
        assert re.sub(r"\s", "", subject) == re.sub(r"\s", "", mail.content.subject)  # type: ignore[union-attr]
    assert min(accepted.values()) > 100


def test_what_passes_for_an_address_is_one_to_the_standard_library_too() -> None:
    random = Random(20261123)
    passed = 0
    for _ in range(VALUES):
        text = "".join(random.choices(PIECES, k=random.choice((1, 2, 3)))) + "@shop.example"
        if not list(head_violations(text, "Hello")):
            assert str(Address(addr_spec=text)) == text
            passed += 1
    assert passed > 100


@pytest.mark.parametrize(
    "field",
    [
        *("To: ada@shop.example\r\nBcc: eve@x.example", "To: eve@x.example", "Bcc: eve@x.example"),
        *("To: ada@shop.example, eve@x.example", "To: ada@shop.example\n Bcc: eve@x.example"),
        *("To: ada@shop.example\rBcc: eve@x.example", "To: ada@shop.example\r\n\r\nx"),
    ],
)
def test_a_head_that_says_more_than_was_meant_is_counted_out(field: str) -> None:
    fields = [f"{name}: x" for name in HEAD]
    for to in ("To: ada@shop.example", "To: =?utf-8?q?a?= <ada@shop.example>"):
        fields[HEAD.index("To")] = to
        _count_head("\r\n".join((*fields, "", "text")).encode(), "ada@shop.example")
    fields[HEAD.index("To")] = field
    with pytest.raises(Invalid):
        _count_head("\r\n".join((*fields, "", "text")).encode(), "ada@shop.example")


@pytest.mark.parametrize(
    "bad", ["a\nb", "a\r\nBcc: e@x.example", "a\x00", "a\x85b", "a\u2028b", "=?utf-8?q?a?=", "\x7f"]
)
def test_the_refusal_names_every_bad_field(bad: str) -> None:
    assert [v.field for v in head_violations(bad, bad)] == ["to_email", "subject"]


@pytest.mark.parametrize(
    "address",
    [
        *("", "@", "ada", "ada@", "@shop.example", "ada@shop", "ada@shop..example", "a@b.example."),
        *("ada@shop.example, eve@x.example", "Ada <ada@shop.example>", '"a b"@shop.example'),
        *("ada@[127.0.0.1]", "a..b@shop.example", ".a@shop.example", "ada@-shop.example"),
        *(
            "ada @shop.example",
            "ада@shop.example",
            "a" * 65 + "@shop.example",
            "ada@x" + ".a" * 130,
        ),
    ],
)
def test_what_is_not_one_plain_address_is_refused(address: str) -> None:
    assert [v.field for v in head_violations(address, "Hello")] == ["to_email"]


@pytest.mark.parametrize("address", ["ada@shop.example", "o'neil+x_y=z@a-b.co.uk", "a.b@xn--a.de"])
def test_an_ordinary_address_passes(address: str) -> None:
    assert list(head_violations(address, "Hello, world: 100% – “quoted” 漢字 😀")) == []  # noqa: RUF001


def test_an_order_id_that_breaks_the_head_is_refused(compose: Composer) -> None:
    mail = a_mail()
    assert isinstance(mail.content, Templated)
    assert isinstance(mail.content.order, Order)
    order = replace(mail.content.order, id="1\nBcc: eve@x.example")
    with pytest.raises(Invalid):
        compose(replace(mail, content=replace(mail.content, order=order)))


def test_message_ids_are_safe_and_never_shared() -> None:
    ids = ["a:b", "a.b", "a_b", "a_2e_b", "a b", "a\nb", "a@b", "a<b>", "aéb", "A:b"]
    made = [message_id(mail_id, DOMAIN) for mail_id in ids]
    assert len(set(made)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+@mercato\.example", each) for each in made)
    assert made[0] == "a.b@mercato.example"

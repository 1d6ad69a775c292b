"""What mails look like."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default

import pytest
from jinja2 import TemplateError

from mercato.kernel.money import Money
from mercato.mailer.composing import BOUNDARY, REASONS, SUBJECTS, Composer
from mercato.mailer.model import Line, Mail, Order, Templated, Written
from mercato.mailer.plaintext import plaintext
from tests.mailer.conftest import SENDER, a_mail


def read(compose: Composer, mail: Mail) -> EmailMessage:
    return message_from_bytes(compose(mail).content, policy=default)


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def about(template: str, order: Order | None) -> Mail:
    content = Templated(template=template, username="<b>Ada</b>", order=order)
    return replace(a_mail(template), content=content)


@pytest.mark.parametrize("template", SUBJECTS)
def test_every_template_makes_a_whole_mail(compose: Composer, template: str) -> None:
    lines = (
        Line(name="<script>x</script> & co", quantity=3, unit_price=Money(1990, "EUR")),
        Line(name="Wool blanket", quantity=1, unit_price=Money(4505, "EUR")),
    )
    order = Order(id="6" * 24, lines=lines, total=Money(10475, "EUR"), reason="out_of_stock")
    of_order = template.startswith("order-")
    message = read(compose, about(template, order if of_order else None))
    html, text = body(message, "html"), body(message, "plain")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"] == SUBJECTS[template].format(shop="Mercato", id=order.id)
    assert "&lt;b&gt;Ada&lt;/b&gt;" in html
    assert "<b>Ada</b>" in text
    assert "<script>" not in html
    assert "prefers-color-scheme: dark" in html
    assert 'class="card" role="presentation" style="' in html
    assert "<!--" not in html
    assert "{" not in text
    if of_order:
        for figure in ("19.90 EUR", "59.70 EUR", "104.75 EUR", order.id):
            assert figure in html
            assert figure in text
        assert html.count("<tr>\n<td class") == 3


@pytest.mark.parametrize(
    "template", ["welcome", "verify-email", "reset-password", "already-registered"]
)
def test_a_link_stands_in_both_parts_once_it_is_opened(template: str) -> None:
    compose = Composer(SENDER, lambda link, mail_id: link.replace("sealed", mail_id))
    content = Templated(template=template, username="ada", link="https://shop.example/a?t=sealed&x")
    mail = replace(a_mail(template), content=content)
    message = read(compose, mail)
    link = f"https://shop.example/a?t={mail.id}&x"
    assert f'href="{link.replace("&", "&amp;")}"' in body(message, "html")
    assert link in body(message, "plain").split()
    assert "sealed" not in str(message)


@pytest.mark.parametrize("reason", [*REASONS, "something_new", ""])
def test_a_cancelled_order_says_why_in_human_words(compose: Composer, reason: str) -> None:
    order = Order(id="6" * 24, lines=(), total=Money(0, "JPY"), reason=reason)
    message = read(compose, about("order-cancelled", order))
    for kind in ("html", "plain"):
        told = body(message, kind)
        assert REASONS.get(reason, "Your order is cancelled.") in told
        assert "_" not in told.replace("supported_", "").partition("Order 666")[0] or not reason


def test_an_order_template_without_an_order_cannot_be_written(compose: Composer) -> None:
    with pytest.raises(TemplateError):
        compose(about("order-confirmed", None))


def test_a_written_mail_is_sent_exactly_as_given(compose: Composer) -> None:
    html = "<html><body><h1>Sale!</h1><p>{{ 7*7 }} {% x %} &amp; é</p></body></html>"
    mail = replace(a_mail(), content=Written(subject="Sale ünd more", html=html))
    message = read(compose, mail)
    assert body(message, "html") == html
    assert body(message, "plain") == "Sale!\n\n{{ 7*7 }} {% x %} & é\n"
    assert message["Subject"] == "Sale ünd more"


@pytest.mark.parametrize(
    ("html", "encoding"),
    [
        ("<p>Plain</p>\n", "7bit"),
        ("<p>" + "wide " * 190 + "</p>", "7bit"),
        ("<p>" + "too wide " * 120 + "</p>", "quoted-printable"),
        ("<p>Žluťoučký kůň</p>", "quoted-printable"),
        ("<p>bell \x07</p>", "quoted-printable"),
        (f"<p>\n--{BOUNDARY}--\n</p>", "quoted-printable"),
    ],
)
def test_a_part_is_encoded_where_it_must_be_and_reads_the_same(
    compose: Composer, html: str, encoding: str
) -> None:
    mail = replace(a_mail("w"), content=Written(subject="Hello", html=html))
    message = read(compose, mail)
    part = message.get_body(("html",))
    assert part is not None
    assert part["Content-Transfer-Encoding"] == encoding
    assert body(message, "html") == html
    assert max(map(len, compose(mail).content.splitlines())) <= 998
    assert len(list(message.iter_parts())) == 2


def test_a_shop_may_have_any_name() -> None:
    message = read(Composer(Address("Müller & Söhne, Köln", addr_spec="shop@a.example")), a_mail())
    assert message["From"] == '"Müller & Söhne, Köln" <shop@a.example>'
    assert message["From"].addresses[0].addr_spec == "shop@a.example"


def test_the_same_mail_is_the_same_bytes(compose: Composer) -> None:
    mail = replace(a_mail(), created_at=datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert compose(mail) == compose(mail)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a</p><p>b<br>c</p>", "a\n\nb\nc\n"),
        ("<style>p{}</style><script>x</script><title>t</title><p>a", "a\n"),
        ("<ul><li>a<li>b</ul>", "- a\n- b\n"),
        ('<a href="https://a.example/x">here</a>', "https://a.example/x here\n"),
        ('<a href="javascript:x">here</a> &lt;ok&gt;', "here <ok>\n"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b\n"),
        ("<!-- a <p>b</p> --><![if x]>c<!doctype html><?xml ?>", "c\n"),
        ("1 < 2 > 0, a<b &amp; c&#9999999999;", "1 < 2 > 0, a<b & c;\n"),
        ("</style></a>", "\n"),
    ],
)
def test_the_text_of_a_page(html: str, text: str) -> None:
    assert plaintext(html) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    ["<", "<a ", "<a>", "<!--", "<!", "</", "&#1", "<a href='", "<script>", "1", "\n"],
)
def test_no_page_holds_up_the_others(piece: str) -> None:
    started = time.perf_counter()
    for page in ((piece * 200_000)[:200_000], f"&#{piece * 50_000}", f"<p {piece * 50_000}"):
        plaintext(page)
    assert time.perf_counter() - started < 2

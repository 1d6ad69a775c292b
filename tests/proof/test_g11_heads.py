"""G11: whatever stands in a mail's values, it has one recipient and the template's head."""

import asyncio
import re
from dataclasses import replace
from email import message_from_bytes
from email.policy import compat32
from random import Random

import pytest

from mercato.kernel.errors import Invalid
from mercato.mailer.composing import HEAD, Composer, Letter
from mercato.mailer.model import Mail, Order, State, Templated, Written
from mercato.mailer.smtp import MailServer, Post
from tests.mailer.conftest import SENDER, a_mail
from tests.mailer.sink import LOOPBACK, Sink
from tests.mailer.test_head import PIECES, written
from tests.proof.figures import Figures, sized

CONNECTIONS = 4
SEED = 11
pytestmark = pytest.mark.timeout(600)


def value(dice: Random) -> str:
    return "".join(dice.choices(PIECES, k=dice.randint(1, 4)))


def a_hostile_mail(dice: Random) -> Mail:
    """A mail of either kind that somebody tries to do more with than send it to one person."""
    to = dice.choice([value(dice), f"ada+{dice.randint(0, 999)}@shop.example"])
    if dice.random() < 0.5:
        return written(to, dice.choice([value(dice), "An offer"]))
    mail = a_mail(to=to)
    assert isinstance(mail.content, Templated)
    assert isinstance(mail.content.order, Order)
    lines = tuple(replace(line, name=value(dice)) for line in mail.content.order.lines)
    order = replace(mail.content.order, lines=lines, reason=value(dice))
    return replace(mail, content=replace(mail.content, username=value(dice), order=order))


async def test_ten_thousand_generated_values_make_one_recipient_and_no_header_more(
    figures: Figures,
) -> None:
    wanted, dice, compose = sized(10_000, least=200), Random(SEED), Composer(SENDER)
    letters: list[Letter] = []
    refused = templated = 0
    for _ in range(wanted):
        mail = a_hostile_mail(dice)
        try:
            letters.append(compose(mail))
        except Invalid:
            refused += 1
        else:
            templated += not isinstance(mail.content, Written)
    sink = Sink()
    await sink.start()
    try:
        shares = [letters[number::CONNECTIONS] for number in range(CONNECTIONS)]
        await asyncio.gather(*(_sent(share, sink.port) for share in shares))
    finally:
        await sink.stop()
    extra = sum(len(recipients) != 1 for recipients in sink.recipients)
    heads = [tuple(message_from_bytes(c, policy=compat32).keys()) for c in sink.contents]
    crooked = sum(
        head != HEAD or not _is_plain(c) for head, c in zip(heads, sink.contents, strict=True)
    )
    meant = sorted(letter.recipient for letter in letters)
    figures.tell(
        "G11", values=wanted, refused=refused, sent=len(sink.contents), templated=templated,
        mails_with_another_number_of_recipients=extra, heads_with_another_field=crooked,
    )  # fmt: skip
    assert sorted(recipient for [recipient] in sink.recipients) == meant
    assert (extra, crooked, len(sink.contents)) == (0, 0, len(letters))
    assert min(refused, len(letters), templated) > wanted // 20, "the values prove nothing"


async def _sent(letters: list[Letter], port: int) -> None:
    post = Post(MailServer(host=LOOPBACK, port=port))

    async def may_go() -> bool:
        return True

    for letter in letters:
        await post.connect()
        outcome = await post.deliver(letter, may_go)
        assert outcome.state is State.SENT, outcome
    await post.quit()


def _is_plain(content: bytes) -> bool:
    """Whether every line end in the head is CR LF, so that all readers see the same lines."""
    head = content.partition(b"\r\n\r\n")[0]
    return re.search(rb"(?<!\r)\n|\r(?!\n)|[^\x09\x20-\x7e\r\n]", head) is None

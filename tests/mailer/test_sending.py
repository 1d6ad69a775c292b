"""Sending over a mail server that fails at each stage in turn."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mercato.kernel.identity import new_id
from mercato.mailer.model import Mail, State, Templated, Written
from mercato.mailer.repository import MongoMails
from mercato.mailer.sending import Sender
from mercato.mailer.smtp import MailServer
from mercato.platform.mongo import Store
from tests.mailer.conftest import a_mail, eventually
from tests.mailer.sink import CUT, LOOPBACK, Sink


async def queued(mails: MongoMails, sender: Sender, mail: Mail) -> Mail:
    assert await mails.add([mail]) == 1
    sender.soon()
    return mail


async def settled(store: Store, mail: Mail, *states: State, within_s: float = 10) -> dict[str, Any]:
    """Waits until `mail` is in one of `states`; returns its document."""
    async with asyncio.timeout(within_s):
        while True:
            found = await store["mails"].find_one({"_id": mail.id})
            if found and found["state"] in states:
                return found
            await asyncio.sleep(0.02)


async def test_a_queued_mail_is_sent_as_its_template_says(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink
) -> None:
    mail = await queued(mails, sender, a_mail())
    found = await settled(store, mail, State.SENT)
    assert found["sent_at"] >= found["created_at"]
    assert "not_before" not in found
    assert sink.recipients == [["ada@shop.example"]]
    (message,) = sink.messages
    about = mail.id.partition(":")[0]
    assert message["Subject"] == f"Order {about} confirmed"
    assert message["Message-ID"] == f"<{about}.order-confirmed@mercato.example>"


async def test_an_id_is_queued_once_for_ever(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink
) -> None:
    mail = await queued(mails, sender, a_mail())
    await settled(store, mail, State.SENT)
    other = a_mail()
    assert await mails.add([mail, other, mail]) == 1
    assert sum(await asyncio.gather(*(mails.add([a_mail_of(mail)]) for _ in range(20)))) == 1
    sender.soon()
    await settled(store, other, State.SENT)
    assert sink.ids.count(mail.message_id) == 1


def a_mail_of(mail: Mail) -> Mail:
    return replace(mail, id=f"{mail.id}:once")


@pytest.mark.parametrize("stage", ["EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_cut_before_the_dot_is_tried_again(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink, stage: str
) -> None:
    sink.faults[stage].append(CUT)
    mail = await queued(mails, sender, a_mail())
    found = await settled(store, mail, State.SENT)
    assert found["attempts"] == (0 if stage == "EHLO" else 1)
    assert len(sink.contents) == 1


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "BEFORE"])
async def test_a_passing_refusal_is_tried_again_and_the_connection_kept(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink, stage: str
) -> None:
    sink.faults[stage].append("451 come back later")
    mail = await queued(mails, sender, a_mail())
    found = await settled(store, mail, State.SENT)
    assert (found["attempts"], "reason" in found) == (1, False)
    assert len(sink.contents) == 1
    assert sink.connections <= 2


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "BEFORE"])
async def test_a_refusal_for_good_fails_the_mail_with_its_reason(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink, stage: str
) -> None:
    sink.faults[stage].append("550 no such user")
    refused = await queued(mails, sender, a_mail())
    found = await settled(store, refused, State.FAILED)
    assert found["reason"] == "550 no such user"
    other = await queued(mails, sender, a_mail())
    await settled(store, other, State.SENT)
    assert len(sink.contents) == 1


@pytest.mark.parametrize(("stage", "stored"), [("BEFORE", 0), ("AFTER", 1)])
async def test_a_cut_after_the_dot_parks_the_mail(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink, stage: str, stored: int
) -> None:
    sink.faults[stage].append(CUT)
    mail = await queued(mails, sender, a_mail())
    await settled(store, mail, State.PARKED)
    other = await queued(mails, sender, a_mail())
    await settled(store, other, State.SENT)
    assert sink.ids.count(mail.message_id) == stored


async def test_mails_wait_while_the_mail_server_is_away_and_go_out_once(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink
) -> None:
    await sink.stop()
    waiting = [await queued(mails, sender, a_mail()) for _ in range(20)]
    await asyncio.sleep(1)
    assert {m["state"] for m in await store["mails"].find().to_list()} == {State.NEW}
    await sink.start()
    await eventually(lambda: len(sink.contents) == 20)
    for mail in waiting:
        found = await settled(store, mail, State.SENT)
        assert found["attempts"] == 0
    assert sorted(sink.ids) == sorted(mail.message_id for mail in waiting)


async def test_a_mail_that_cannot_be_written_fails_and_blocks_nobody(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink
) -> None:
    bad_address = a_mail(to="ada@shop.example, eve@shop.example")
    orderless = Templated(template="order-confirmed", username="ada", order=None)
    no_order = replace(a_mail(), content=orderless)
    good = a_mail()
    await mails.add([bad_address, no_order, good])
    sender.soon()
    await settled(store, good, State.SENT)
    for bad in (bad_address, no_order):
        found = await settled(store, bad, State.FAILED)
        assert found["reason"].startswith("cannot be written")
    assert len(sink.contents) == 1


async def test_leading_dots_and_odd_line_ends_arrive_as_they_were(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink
) -> None:
    html = "<p>\n.\n..two\r\n.\r\nFrom me\rlast é 漢 line" + "x" * 2000 + "</p>"
    mail = replace(
        a_mail(), id=f"{new_id()}:given", content=Written(subject="Dots … and more", html=html)
    )
    await queued(mails, sender, mail)
    await settled(store, mail, State.SENT)
    (message,) = sink.messages
    body = message.get_body(("html",))
    assert body is not None
    assert body.get_content().splitlines() == html.splitlines()
    assert message["Subject"] == "Dots … and more"
    assert all(len(line) <= 998 for line in sink.contents[0].split(b"\r\n"))
    assert b"\n" not in sink.contents[0].replace(b"\r\n", b"")


async def test_a_lost_lease_keeps_the_dot_back(mails: MongoMails, store: Store) -> None:
    await mails.add([a_mail()])
    (mine,) = await mails.claim(State.NEW, 10)
    assert await mails.claim(State.NEW, 10) == []
    await store["mails"].update_one({}, {"$set": {"not_before": mine.created_at}})
    (theirs,) = await mails.claim(State.NEW, 10)
    assert not await mails.dot(mine)
    await mails.add([a_mail()])
    (third,) = await mails.claim(State.NEW, 10)
    answers = await asyncio.gather(*(mails.dot(mail) for mail in (theirs, mine, third)))
    assert answers == [True, False, True]


async def test_many_claimants_take_each_mail_once(mails: MongoMails) -> None:
    await mails.add([a_mail() for _ in range(100)])
    taken = await asyncio.gather(*(mails.claim(State.NEW, 30) for _ in range(8)))
    while left := await mails.claim(State.NEW, 30):
        taken.append(left)
    ids = [mail.id for group in taken for mail in group]
    assert len(ids) == len(set(ids)) == 100


async def test_what_was_not_begun_is_given_back_when_the_sender_stops(
    store: Store, mails: MongoMails, compose: Any, sink: Sink
) -> None:
    await sink.stop()
    sender = Sender(mails, compose, MailServer(host=LOOPBACK, port=sink.port), connections=2)
    await mails.add([a_mail() for _ in range(50)])
    task = asyncio.get_running_loop().create_task(sender.run())
    await asyncio.sleep(0.5)
    assert await store["mails"].count_documents({"lease": {"$exists": True}}) >= 32
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store["mails"].count_documents({"lease": {"$exists": True}}) == 0
    assert len(await mails.claim(State.NEW, 100)) == 50

"""A mail that may have been sent goes out again only when the mailbox does not have it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mercato.kernel.clock import now
from mercato.mailer.mailbox import Mailbox, Resolver
from mercato.mailer.model import Mail, State
from mercato.mailer.repository import MongoMails
from mercato.mailer.sending import Sender
from mercato.platform.mongo import Store
from tests.mailer.conftest import a_mail
from tests.mailer.sink import LOOPBACK, Sink, mailbox_api


@pytest.fixture
async def api(sink: Sink) -> AsyncIterator[str]:
    async with mailbox_api(sink) as url:
        yield url


async def in_dot(mails: MongoMails, store: Store) -> Mail:
    """A mail whose sender died after it had written DOT."""
    await mails.add([a_mail()])
    (mail,) = await mails.claim(State.NEW, 1)
    assert await mails.dot(mail)
    await expire(store)
    return mail


async def expire(store: Store) -> None:
    past = now() - timedelta(seconds=1)
    await store["mails"].update_many(
        {"not_before": {"$exists": True}}, {"$set": {"not_before": past}}
    )


async def state(store: Store, mail: Mail) -> str:
    found = await store["mails"].find_one({"_id": mail.id})
    assert found is not None
    return str(found["state"])


async def test_an_abandoned_dot_is_parked_and_waits_its_grace(
    store: Store, mails: MongoMails, api: str
) -> None:
    mail = await in_dot(mails, store)
    await Resolver(mails, Mailbox(api)).resolve()
    assert await state(store, mail) == State.PARKED
    assert await mails.count(State.PARKED) == 1


async def test_a_dot_with_a_living_sender_is_left_alone(
    store: Store, mails: MongoMails, api: str
) -> None:
    mail = await in_dot(mails, store)
    await mails.renew([mail])
    await Resolver(mails, Mailbox(api)).resolve()
    assert await state(store, mail) == State.DOT


async def test_a_parked_mail_that_is_in_the_mailbox_was_sent(
    store: Store, mails: MongoMails, api: str, sink: Sink
) -> None:
    mail = await in_dot(mails, store)
    sink.contents.append(f"Message-ID: <{mail.message_id}>\r\n\r\n".encode())
    resolver = Resolver(mails, Mailbox(api))
    await resolver.resolve()
    await expire(store)
    await resolver.resolve()
    assert await state(store, mail) == State.SENT


async def test_a_parked_mail_that_is_nowhere_goes_out_again(
    store: Store, mails: MongoMails, api: str
) -> None:
    mail = await in_dot(mails, store)
    resolver = Resolver(mails, Mailbox(api))
    await resolver.resolve()
    await expire(store)
    await resolver.resolve()
    assert await state(store, mail) == State.NEW
    assert [again.id for again in await mails.claim(State.NEW, 9)] == [mail.id]


async def test_a_mail_that_arrives_between_two_looks_was_sent(
    store: Store, mails: MongoMails, api: str, sink: Sink
) -> None:
    mail = await in_dot(mails, store)
    resolver = Resolver(mails, Mailbox(api))
    await resolver.resolve()
    await expire(store)
    looking = asyncio.ensure_future(resolver.resolve())
    await asyncio.sleep(0.7)
    sink.contents.append(f"Message-ID: <{mail.message_id}>\r\n\r\n".encode())
    await looking
    assert await state(store, mail) == State.SENT


@pytest.mark.parametrize("url", ["", f"http://{LOOPBACK}:9"])
async def test_without_a_mailbox_to_ask_a_mail_stays_parked(
    store: Store, mails: MongoMails, url: str
) -> None:
    mail = await in_dot(mails, store)
    resolver = Resolver(mails, Mailbox(url) if url else None)
    await resolver.resolve()
    await expire(store)
    await resolver.resolve()
    assert await state(store, mail) == State.PARKED


async def test_an_answer_that_is_none_leaves_the_mail_parked(
    store: Store, mails: MongoMails
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"error": "no such thing"}')
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        mail = await in_dot(mails, store)
        resolver = Resolver(mails, Mailbox(f"http://{LOOPBACK}:{port}"))
        await resolver.resolve()
        await expire(store)
        await resolver.resolve()
    assert await state(store, mail) == State.PARKED


async def test_an_old_verdict_does_not_touch_a_mail_that_moved_on(
    store: Store, mails: MongoMails
) -> None:
    await in_dot(mails, store)
    await mails.park_abandoned()
    await expire(store)
    (old,) = await mails.claim(State.PARKED, 1)
    await expire(store)
    (new,) = await mails.claim(State.PARKED, 1)
    assert not await mails.not_sent(old)
    assert await mails.not_sent(new)


async def test_the_servers_word_settles_a_mail_whoever_holds_it(
    store: Store, mails: MongoMails
) -> None:
    mail = await in_dot(mails, store)
    await mails.park_abandoned()
    await mails.sent(mail)
    assert await state(store, mail) == State.SENT
    assert not await mails.later(mail, "too late")
    assert not await mails.failed(mail, "too late")
    assert not await mails.park(mail, "too late")


async def test_a_cut_after_storing_is_found_and_before_it_is_sent_again(
    store: Store, mails: MongoMails, sender: Sender, sink: Sink, api: str
) -> None:
    resolver = asyncio.ensure_future(Resolver(mails, Mailbox(api)).run())
    sink.faults["BEFORE"] += ["cut", "cut"]
    sink.faults["AFTER"] += ["cut", "cut"]
    batch = [a_mail() for _ in range(20)]
    await mails.add(batch)
    sender.soon()
    async with asyncio.timeout(20):
        while await store["mails"].count_documents({"state": State.SENT}) < 20:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    resolver.cancel()
    assert sorted(sink.ids) == sorted(mail.message_id for mail in batch)

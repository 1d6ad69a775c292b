"""The mail server's proxy cuts a dialogue where it is told to, and the mail is where that says."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from mercato.embedded.mailbox.smtp import listen
from mercato.embedded.mailbox.store import Store
from mercato.embedded.ports import LOOPBACK
from mercato.storm.smtp import AFTER_DOT, STAGES, SmtpProxy


@pytest.fixture
async def mailbox(tmp_path: Path) -> AsyncIterator[tuple[Store, SmtpProxy]]:
    store = Store(tmp_path)
    server = await listen(store, LOOPBACK, 0)
    proxy = SmtpProxy("smtp")
    proxy.upstream = server.sockets[0].getsockname()[1]
    await proxy.open()
    yield store, proxy
    proxy.close()
    server.close()


async def send(proxy: SmtpProxy) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "a@shop.example", "b@shop.example", "Hello"
    letter.set_content("one\n.two\n..\n" + "long " * 20_000)
    await aiosmtplib.send(letter, hostname=LOOPBACK, port=proxy.port, timeout=5)


@pytest.mark.parametrize("stage", STAGES)
async def test_a_cut_mail_is_kept_only_after_its_last_dot(
    mailbox: tuple[Store, SmtpProxy], stage: str
) -> None:
    store, proxy = mailbox
    proxy.cut_at(stage)
    with pytest.raises((aiosmtplib.SMTPException, OSError)):
        await send(proxy)
    await asyncio.sleep(0.1)
    assert proxy.fired == {stage: 1}
    assert len(store) == (1 if stage == AFTER_DOT else 0)


async def test_the_dialogue_after_a_cut_goes_through(mailbox: tuple[Store, SmtpProxy]) -> None:
    store, proxy = mailbox
    proxy.cut_at("RCPT")
    with pytest.raises((aiosmtplib.SMTPException, OSError)):
        await send(proxy)
    await send(proxy)
    assert len(store) == 1

"""A real database, a mailer process, and a mail server for the mailer's tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address

import pytest

from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.kernel.money import Money
from mercato.mailer import model
from mercato.mailer.composing import Composer
from mercato.mailer.model import Line, Mail, Order, Templated
from mercato.mailer.repository import SHAPES, MongoMails
from mercato.mailer.sending import Sender
from mercato.mailer.smtp import MailServer
from mercato.platform.mongo import Store
from tests.mailer.sink import LOOPBACK, Sink, mailbox_api

DOMAIN = "mercato.example"
SENDER = Address("Mercato", addr_spec=f"no-reply@{DOMAIN}")


@pytest.fixture(scope="session")
async def service_sink() -> AsyncIterator[Sink]:
    """Where the mailer process sends its mail."""
    sink = Sink()
    await sink.start()
    yield sink
    await sink.stop()


@pytest.fixture(scope="session")
async def mailer_platform(
    service_sink: Sink, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Platform]:
    """A mailer process of its own and a real database."""
    async with mailbox_api(service_sink) as url:
        given = Given(smtp_host=LOOPBACK, smtp_port=str(service_sink.port), mailbox_api=url)
        folder = tmp_path_factory.mktemp("mailer")
        async with Platform.open(folder, services=("mailer",), given=given) as platform:
            yield platform


@pytest.fixture(scope="session")
def mongo_uri(mailer_platform: Platform) -> str:
    return mailer_platform.environment["MONGO_URI"]


@pytest.fixture(scope="session")
async def queue_store(mongo_uri: str) -> AsyncIterator[Store]:
    """A database beside that of the mailer process, for the parts under test in this one."""
    async with Store.open(mongo_uri, "mailer_test") as store:
        await store.ensure(SHAPES)
        yield store


@pytest.fixture
async def store(queue_store: Store) -> Store:
    """The same, emptied."""
    await queue_store["mails"].delete_many({})
    return queue_store


@pytest.fixture
def mails(store: Store) -> MongoMails:
    return MongoMails(store, DOMAIN)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    await sink.start()
    yield sink
    await sink.stop()


@pytest.fixture(scope="session")
def compose() -> Composer:
    return Composer(SENDER)


@pytest.fixture
async def sender(
    mails: MongoMails, compose: Composer, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sender]:
    """A running, impatient sender with two connections to the sink."""
    monkeypatch.setattr(model, "BACK_OFF_S", 0.1)
    sender = Sender(mails, compose, MailServer(host=LOOPBACK, port=sink.port), connections=2)
    task = asyncio.get_running_loop().create_task(sender.run())
    yield sender
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def a_mail(template: str = "order-confirmed", *, to: str = "ada@shop.example") -> Mail:
    about = new_id()
    line = Line(name="White hanging heart", quantity=6, unit_price=Money(255, "EUR"))
    order = Order(id=about, lines=(line,), total=Money(1530, "EUR"), reason="out_of_stock")
    return Mail(
        id=f"{about}:{template}",
        to_email=to,
        content=Templated(template=template, username="ada", order=order),
        created_at=datetime.now(UTC),
        message_id=f"{about}.{template}@{DOMAIN}",
    )


async def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Waits until `holds()`; fails after `within_s`."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - it happens elsewhere
            await asyncio.sleep(0.02)

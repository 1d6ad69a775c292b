"""The mailer process as its callers see it: roles, contracts, and a SIGKILL in full flight."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from mercato.embedded import keeper
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import Caller, Role, new_id
from mercato.mailer.model import State, message_id
from mercato.pb import mailer_pb2 as pb
from mercato.pb import money_pb2, order_pb2
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.platform.mongo import Store
from mercato.platform.rpc import Channels
from mercato.platform.rpc.refusals import Refused
from mercato.platform.tokens import Tokens
from tests.mailer.conftest import DOMAIN, eventually
from tests.mailer.sink import Sink
from tests.minting import minting

ADMIN = Caller(new_id(), "admin")


@pytest.fixture(scope="session")
def tokens(mailer_platform: Platform) -> Tokens:
    return minting(mailer_platform)


@pytest.fixture(scope="session")
def channels(tokens: Tokens) -> Channels:
    return Channels(tokens, "gateway")


@pytest.fixture(scope="session")
def order(tokens: Tokens) -> Channels:
    return Channels(tokens, "order")


@pytest.fixture(scope="session")
async def stub(mailer_platform: Platform, channels: Channels) -> AsyncIterator[MailerServiceStub]:
    async with channels.open(mailer_platform.environment["MAILER_SERVICE"]) as channel:
        yield MailerServiceStub(channel)


@pytest.fixture
def inbox(service_sink: Sink) -> Sink:
    """What the process has sent, empty at first."""
    service_sink.contents.clear()
    service_sink.recipients.clear()
    service_sink.faults.clear()
    return service_sink


def a_letter(**fields: str) -> pb.SendEmailRequest:
    given = {"to_email": "ada@shop.example", "subject": "Hello", "html_body": "<p>Hi</p>"}
    return pb.SendEmailRequest(**(given | fields))


def a_mail(template: str = "welcome") -> pb.Mail:
    price = money_pb2.Money(minor=255, currency="EUR")
    order = order_pb2.Order(
        id=new_id(),
        items=[order_pb2.OrderItem(product_id=new_id(), name="H", quantity=2, unit_price=price)],
        total=money_pb2.Money(minor=510),
    )
    return pb.Mail(
        id=f"{order.id}:{template}",
        template=template,
        to_email="ada@shop.example",
        username="ada",
        order=order,
    )


async def test_a_mail_is_sent_exactly_as_given(
    stub: MailerServiceStub, channels: Channels, inbox: Sink
) -> None:
    html = "<h1>Grüße</h1>\n<p>{{ not a template }}</p>"
    started = time.monotonic()
    answer = await channels.call(
        stub.SendEmail, a_letter(subject="Grüße", html_body=html), speaks_for=ADMIN
    )
    assert (answer.status, time.monotonic() - started < 1) == ("sent", True)
    (message,) = inbox.messages
    assert (message["To"], message["Subject"]) == ("ada@shop.example", "Grüße")
    body = message.get_body(("html",))
    assert body is not None
    assert body.get_content().splitlines() == html.splitlines()


async def test_a_repeated_call_is_the_same_mail_and_a_new_call_another(
    stub: MailerServiceStub, tokens: Tokens, inbox: Sink
) -> None:
    trace = (("x-request-id", "once"), ("traceparent", f"00-{'1' * 32}-{'2' * 16}-01"))
    metadata = (("authorization", f"Bearer {tokens.access(ADMIN.id, 'admin')}"), *trace)
    for _ in range(3):
        answer = await stub.SendEmail(a_letter(), timeout=5, metadata=metadata)
        assert answer.status == "sent"
    assert len(inbox.contents) == 1
    for _ in range(2):
        await stub.SendEmail(a_letter(), timeout=5, metadata=metadata[:2])
    assert len(inbox.contents) == 3


async def test_a_mail_is_queued_while_the_mail_server_is_away(
    stub: MailerServiceStub, channels: Channels, inbox: Sink
) -> None:
    await inbox.stop()
    try:
        answer = await channels.call(stub.SendEmail, a_letter(), speaks_for=ADMIN)
        assert answer.status == "queued"
        assert "goes out" in answer.message
        started = time.monotonic()
        answer = await channels.call(stub.SendEmail, a_letter(), deadline_s=0.8, speaks_for=ADMIN)
        assert (answer.status, time.monotonic() - started < 0.8) == ("queued", True)
    finally:
        await inbox.start()
    await eventually(lambda: len(inbox.contents) == 2)


async def test_a_refused_mail_is_told(
    stub: MailerServiceStub, channels: Channels, inbox: Sink
) -> None:
    inbox.faults["RCPT"].append("550 no such user here")
    with pytest.raises(Refused) as refused:
        await channels.call(stub.SendEmail, a_letter(), speaks_for=ADMIN)
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert (refused.value.slug, "no such user" in refused.value.detail) == ("mail-refused", True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"subject": "a\nBcc: eve@x.example"}, {"subject"}),
        (
            {"subject": "=?utf-8?q?a?=", "to_email": "=?a?q?b?=@shop.example"},
            {"subject", "to_email"},
        ),
        ({"to_email": "a@b.example, c@d.example", "html_body": ""}, {"to_email", "html_body"}),
        ({"subject": "a\nb", "html_body": ""}, {"subject", "html_body"}),
    ],
)
async def test_bad_fields_are_all_named_and_nothing_is_sent(
    stub: MailerServiceStub,
    channels: Channels,
    inbox: Sink,
    fields: dict[str, str],
    named: set[str],
) -> None:
    with pytest.raises(Refused) as refused:
        await channels.call(stub.SendEmail, a_letter(**fields), speaks_for=ADMIN)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {violation.field for violation in refused.value.violations} == named
    assert inbox.contents == []


@pytest.mark.parametrize(
    ("role", "sends", "queues"),
    [("customer", False, False), ("admin", True, False), ("service", False, True)],
)
async def test_only_those_who_may_send_mail_do(
    stub: MailerServiceStub, tokens: Tokens, inbox: Sink, role: Role, sends: bool, queues: bool
) -> None:
    token = tokens.service("order") if role == "service" else tokens.access(new_id(), role)
    metadata = (("authorization", f"Bearer {token}"),)
    mails = pb.QueueMailsRequest(mails=[a_mail()])
    calls = (
        (stub.SendEmail(a_letter(), timeout=5, metadata=metadata), sends),
        (stub.QueueMails(mails, timeout=5, metadata=metadata), queues),
    )
    for call, allowed in calls:
        if allowed:
            await call
            continue
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await eventually(lambda: len(inbox.contents) == sends + queues)


async def test_the_gateway_speaks_for_a_user_with_the_users_rights_alone(
    stub: MailerServiceStub, channels: Channels
) -> None:
    with pytest.raises(Refused) as refused:
        await channels.call(stub.SendEmail, a_letter(), speaks_for=Caller(new_id(), "customer"))
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_templated_mails_are_queued_each_id_once(
    stub: MailerServiceStub, order: Channels, inbox: Sink
) -> None:
    mails = [a_mail(name) for name in ("welcome", "order-confirmed", "order-cancelled")]
    request = pb.QueueMailsRequest(mails=mails)
    answers = await asyncio.gather(*(order.call(stub.QueueMails, request) for _ in range(5)))
    assert sum(answer.added for answer in answers) == 3
    await eventually(lambda: len(inbox.contents) == 3)
    await asyncio.sleep(0.5)
    assert sorted(inbox.ids) == sorted(message_id(mail.id, DOMAIN) for mail in mails)
    assert (await order.call(stub.QueueMails, pb.QueueMailsRequest())).added == 0


async def test_an_unknown_template_is_refused(stub: MailerServiceStub, order: Channels) -> None:
    with pytest.raises(Refused) as refused:
        await order.call(stub.QueueMails, pb.QueueMailsRequest(mails=[a_mail("bill")]))
    assert refused.value.violations[0].field == "mails[0].template"


async def called_again(call: Callable[[], Awaitable[object]]) -> None:
    """Calls as an outbox's relay does: until it is answered."""
    async with asyncio.timeout(10):
        while True:
            try:
                await call()
            except Refused as refused:
                assert refused.code is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
                await asyncio.sleep(0.2)
            else:
                return


@pytest.mark.timeout(60)
async def test_killed_again_and_again_it_loses_no_mail_and_sends_none_twice(
    mailer_platform: Platform,
    stub: MailerServiceStub,
    order: Channels,
    inbox: Sink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "BACKOFF_MAX_S", 0.5)  # a third death is mended as soon as a first
    environment = mailer_platform.environment
    mails = [a_mail("order-confirmed") for _ in range(200)]
    wanted = {message_id(mail.id, DOMAIN) for mail in mails}
    for stage in ("EHLO", "MAIL", "RCPT", "DATA", "BEFORE", "AFTER"):
        inbox.faults[stage] += ["", "", "cut"] * 2
    for start in (0, 70, 140):
        request = pb.QueueMailsRequest(mails=mails[start : start + 70])
        await called_again(lambda: order.call(stub.QueueMails, request))  # noqa: B023
        await eventually(lambda: len(inbox.contents) > start / 2)  # noqa: B023
        mailer_platform.kill("mailer")
        await mailer_platform.wait_ready("mailer")
    async with Store.open(environment["MONGO_URI"], environment["MONGO_DB_NAME"]) as store:
        mine = {"_id": {"$in": [mail.id for mail in mails]}}
        async with asyncio.timeout(40):
            sent = mine | {"state": State.SENT}
            while await store["mails"].count_documents(sent) < 200:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    assert Counter(inbox.ids) == Counter(wanted)


async def test_a_mailer_that_is_told_to_stop_finishes_what_it_sends(
    mailer_platform: Platform, stub: MailerServiceStub, order: Channels, inbox: Sink
) -> None:
    mails = [a_mail("order-completed") for _ in range(100)]
    request = pb.QueueMailsRequest(mails=mails)
    await called_again(lambda: order.call(stub.QueueMails, request))
    await eventually(lambda: len(inbox.contents) > 10)
    started = time.monotonic()
    await mailer_platform.stop("mailer", grace_s=8)
    assert time.monotonic() - started < 8
    environment = mailer_platform.environment
    async with Store.open(environment["MONGO_URI"], environment["MONGO_DB_NAME"]) as store:
        mine = {"_id": {"$in": [mail.id for mail in mails]}}
        assert await store["mails"].count_documents(mine | {"lease": {"$exists": True}}) == 0
        sent = await store["mails"].count_documents(mine | {"state": State.SENT})
    assert sent == len(inbox.contents)
    await mailer_platform.start("mailer")
    await eventually(lambda: len(inbox.contents) == 100)

"""What is told of a registration: the fact on the bus, and the welcome mail at the mailer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from bson import ObjectId
from nats.aio.msg import Msg

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import Party
from mercato.pb import mailer_pb2
from mercato.pb.mailer_pb2_grpc import MailerServiceServicer, add_MailerServiceServicer_to_server
from mercato.platform.mongo import Collection, Store
from mercato.platform.rpc import Server
from mercato.platform.tokens import Tokens
from mercato.user.model.links import LinkKey
from tests.user.conftest import Client, fresh_email, until

SERVICE = mailer_pb2.DESCRIPTOR.services_by_name["MailerService"]
SETTLED_S_MAX = 20.0


class Postbox(MailerServiceServicer):
    """A mailer that keeps what it is given, each id once."""

    def __init__(self) -> None:
        self.mails: dict[str, mailer_pb2.Mail] = {}

    async def SendEmail(self, request: Any, context: Any) -> mailer_pb2.SendEmailResponse:
        raise NotImplementedError

    async def QueueMails(
        self, request: mailer_pb2.QueueMailsRequest, context: Any
    ) -> mailer_pb2.QueueMailsResponse:
        before = len(self.mails)
        self.mails |= {mail.id: mail for mail in request.mails}
        return mailer_pb2.QueueMailsResponse(added=len(self.mails) - before)


@asynccontextmanager
async def opened(platform: Platform, tokens: Tokens) -> AsyncIterator[Postbox]:
    postbox = Postbox()
    services: frozenset[Party] = frozenset(("user",))
    server = Server([SERVICE], tokens, {"SendEmail": services, "QueueMails": services})
    add_MailerServiceServicer_to_server(postbox, server.grpc)
    host, _, port = platform.environment["MAILER_SERVICE"].rpartition(":")
    async with server.listen(host, int(port)):
        yield postbox


async def all_closed(rows: Collection) -> bool:
    return not await rows.count_documents({"kind": "mail", "state": {"$ne": "closed"}})


async def test_a_welcome_waits_for_the_mailer_and_is_given_once(
    client: Client, store: Store, user_platform: Platform, tokens: Tokens
) -> None:
    email = fresh_email()
    who = await client.register(email, username="patient")
    row_id = f"{who.id}:welcome"
    await asyncio.sleep(1)
    rows = store["user_outbox"]
    assert await rows.count_documents({"_id": row_id, "state": "open"}) == 1
    async with opened(user_platform, tokens) as postbox:
        await until(lambda: all_closed(rows))
        mail = postbox.mails[row_id]
    assert (mail.template, mail.to_email, mail.username) == ("welcome", email, "patient")
    assert len(postbox.mails) == await rows.count_documents({"kind": "mail"})
    everybody = {str(user["_id"]) async for user in store["users"].find({}, {"_id": 1})}
    welcomes = [mail for mail in postbox.mails if mail.endswith(":welcome")]
    assert {mail_id.removesuffix(":welcome") for mail_id in welcomes} == everybody
    row = await rows.find_one({"_id": row_id})
    assert row is not None
    token = LinkKey(user_platform.environment["JWT_SECRET"]).token(row["payload"]["request"])
    assert mail.link.endswith(f"/account/verify?token={token}")
    account = await store["users"].find_one({"_id": ObjectId(who.id)})
    assert token not in repr(row) + repr(account)


async def test_everybody_is_told_of_once(client: Client, user_platform: Platform) -> None:
    broker = await nats.connect(user_platform.environment["NATS_URL"])
    try:
        heard = await broker.jetstream().subscribe("user.registered", ordered_consumer=True)
        who = await client.register(username="announced")
        found: list[Msg] = []
        async with asyncio.timeout(SETTLED_S_MAX):
            while not found:
                message = await heard.next_msg(timeout=SETTLED_S_MAX)
                found += [message] if who.id in message.data.decode() else []
    finally:
        await broker.close()
    assert json.loads(found[0].data) == {"user_id": who.id, "username": "announced"}
    headers = found[0].headers or {}
    assert headers["ce-id"] == f"{who.id}:user.registered"
    assert headers["Nats-Msg-Id"] == f"{who.id}:user.registered:1"

"""The user service, put together."""

import contextlib
from functools import partial

from mercato.kernel import clock
from mercato.pb import user_pb2
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.pb.user_pb2_grpc import add_UserServiceServicer_to_server
from mercato.platform import telemetry
from mercato.platform.bus import Bus
from mercato.platform.cache import Cache
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.relay import Relay, to_bus
from mercato.platform.rpc import Channels, Identity, Server
from mercato.platform.run import run, until_ready
from mercato.platform.settings import load
from mercato.platform.tokens import Tokens
from mercato.user.handler import ALLOWED, UserHandler
from mercato.user.model import OPERATOR, EmailTaken
from mercato.user.passwords import Passwords
from mercato.user.peers import Post
from mercato.user.repository import OUTBOX, SHAPES, MongoUsers
from mercato.user.settings import UserSettings
from mercato.user.usecase import Accounts, Registration

NAME = "user"
SERVICE = user_pb2.DESCRIPTOR.services_by_name["UserService"]


async def main() -> None:
    """Serves until SIGTERM; returns once everything that was begun is done."""
    settings = load(UserSettings)
    telemetry.start(
        NAME, level=settings.log_level, host=settings.host, metrics_port=settings.metrics_port
    )
    tokens = Tokens(settings.jwt_secret)
    identity = Identity.of(settings)
    channels = Channels(tokens, NAME, identity)
    async with (
        Store.open(settings.mongo_uri, settings.mongo_db_name) as store,
        Cache.open(
            settings.redis_addr, password=settings.redis_password,
            database=settings.redis_db, ttl_s=settings.cache_ttl_s,
        ) as cache,
        Bus.open(settings.nats_url, NAME) as bus,
        channels.open(settings.mailer_service, "mailer") as mailer,
    ):  # fmt: skip
        await until_ready("mongo", lambda: store.ensure(SHAPES))
        outbox = Outbox(store[OUTBOX])
        accounts = Accounts(MongoUsers(store, outbox, cache), Passwords(), clock.now)
        await until_ready("mongo", partial(_make_demo_accounts, accounts, settings))
        post = Post(MailerServiceStub(mailer), channels)
        facts_out = Relay(outbox, cache, name=OUTBOX, kind="nats", dispatch=to_bus(bus))
        mails_out = Relay(outbox, cache, name=OUTBOX, kind="mail", dispatch=post)
        server = Server([SERVICE], tokens, ALLOWED, identity)
        add_UserServiceServicer_to_server(UserHandler(accounts, tokens), server.grpc)
        async with server.listen(settings.host, settings.port):
            await run(facts_out.run(), mails_out.run(), name=NAME)


async def _make_demo_accounts(accounts: Accounts, settings: UserSettings) -> None:
    if not settings.mercato_embedded:
        return
    wishes = (
        Registration(settings.demo_admin_email, settings.demo_admin_password, role="admin"),
        Registration(settings.demo_customer_email, settings.demo_customer_password),
    )
    for wish in wishes:
        if wish.email and wish.password:
            with contextlib.suppress(EmailTaken):
                await accounts.register(wish, OPERATOR)

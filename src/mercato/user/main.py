"""The user service, put together."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from mercato.kernel import clock
from mercato.pb import account_pb2, security_pb2, user_pb2
from mercato.pb.account_pb2_grpc import add_AccountServiceServicer_to_server
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.pb.security_pb2_grpc import add_SecurityServiceServicer_to_server
from mercato.pb.user_pb2_grpc import add_UserServiceServicer_to_server
from mercato.platform import telemetry
from mercato.platform.bus import Bus
from mercato.platform.cache import Cache
from mercato.platform.limits import Limiter, Quota
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.relay import Relay, to_bus
from mercato.platform.rpc import Channels, Identity, Server, client_of_call
from mercato.platform.run import run, until_ready
from mercato.platform.sealing import Sealer
from mercato.platform.settings import load
from mercato.platform.tokens import Tokens
from mercato.user.authenticators import Authenticators
from mercato.user.handler import ALLOWED, AccountHandler, SecurityHandler, UserHandler
from mercato.user.model import OPERATOR, EmailTaken, LinkKey, PasswordRules
from mercato.user.passwords import COMMON, Passwords
from mercato.user.peers import Post
from mercato.user.repository import (
    OUTBOX,
    SHAPES,
    MongoDevices,
    MongoEvents,
    MongoUsers,
    RedisFailures,
    log_event,
)
from mercato.user.settings import UserSettings
from mercato.user.usecase import Accounts, Attempts, Recovery, Registration, SecondFactors, Trail

NAME = "user"
SERVICES = (
    user_pb2.DESCRIPTOR.services_by_name["UserService"],
    account_pb2.DESCRIPTOR.services_by_name["AccountService"],
    security_pb2.DESCRIPTOR.services_by_name["SecurityService"],
)
PUBLIC_URL = "http://127.0.0.1:8080"  # the gateway's, where nobody said another


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
        _failures(settings) as failures,
    ):  # fmt: skip
        await until_ready("mongo", lambda: store.ensure(SHAPES))
        outbox = Outbox(store[OUTBOX])
        links = LinkKey(settings.jwt_secret)
        trail = Trail(MongoEvents(store), clock.now, log_event)
        secret = settings.jwt_secret
        attempts = Attempts(failures, MongoDevices(store), trail, client_of_call, secret)
        verbs = _verbs(settings, MongoUsers(store, outbox, cache), links, trail, attempts)
        await until_ready("mongo", partial(_make_demo_accounts, verbs.accounts, settings))
        post = Post(
            MailerServiceStub(mailer), channels, links,
            settings.public_url or PUBLIC_URL, verbs.recovery.answer,
        )  # fmt: skip
        facts_out = Relay(outbox, cache, name=OUTBOX, kind="nats", dispatch=to_bus(bus))
        mails_out = Relay(outbox, cache, name=OUTBOX, kind="mail", dispatch=post)
        server = Server(SERVICES, tokens, ALLOWED, identity)
        _serve(server, verbs, tokens, trail)
        try:
            async with server.listen(settings.host, settings.port):
                await run(facts_out.run(), mails_out.run(), trail.run(), name=NAME)
        finally:
            await trail.flush()


@dataclass(frozen=True, slots=True)
class Verbs:
    """The use cases of accounts."""

    accounts: Accounts
    recovery: Recovery
    factors: SecondFactors


@asynccontextmanager
async def _failures(settings: UserSettings) -> AsyncIterator[RedisFailures]:
    quota = Quota.of(settings.rate_limit_attempts if settings.rate_limits else "1000000/1s")
    async with Limiter.open(
        settings.redis_addr, password=settings.redis_password, database=settings.redis_db
    ) as limiter:
        yield RedisFailures(limiter, quota)


def _verbs(
    settings: UserSettings, users: MongoUsers, links: LinkKey, trail: Trail, attempts: Attempts
) -> Verbs:
    passwords, rules = Passwords(), PasswordRules(COMMON)
    sessions = _NoSessions()
    authenticators = Authenticators(Sealer(settings.sealing_secret or settings.jwt_secret, "totp"))
    factors = SecondFactors(users, passwords, authenticators, trail, clock.now)
    accounts = Accounts(
        users, passwords, clock.now, rules=rules, links=links, factors=factors,
        sessions=sessions, trail=trail, private=settings.private_registration,
        attempts=attempts,
    )  # fmt: skip
    recovery = Recovery(
        users, passwords, clock.now, rules=rules, links=links, sessions=sessions, trail=trail
    )
    return Verbs(accounts, recovery, factors)


class _NoSessions:
    """Until there are refresh tokens, a session is an access token, and ends by itself."""

    async def end_all(self, user_id: str, *, but: str = "") -> int:
        return 0


def _serve(server: Server, verbs: Verbs, tokens: Tokens, trail: Trail) -> None:
    add_UserServiceServicer_to_server(UserHandler(verbs.accounts, tokens), server.grpc)
    add_AccountServiceServicer_to_server(AccountHandler(verbs.recovery, verbs.factors), server.grpc)
    add_SecurityServiceServicer_to_server(SecurityHandler(trail), server.grpc)


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

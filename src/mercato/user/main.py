"""The user service, put together."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from mercato.kernel import clock
from mercato.pb import account_pb2, oauth_pb2, security_pb2, session_pb2, user_pb2
from mercato.pb.account_pb2_grpc import add_AccountServiceServicer_to_server
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.pb.oauth_pb2_grpc import add_OAuthServiceServicer_to_server
from mercato.pb.security_pb2_grpc import add_SecurityServiceServicer_to_server
from mercato.pb.session_pb2_grpc import add_SessionServiceServicer_to_server
from mercato.pb.user_pb2_grpc import add_UserServiceServicer_to_server
from mercato.platform import telemetry
from mercato.platform.bus import Bus
from mercato.platform.cache import Cache
from mercato.platform.limits import Quota
from mercato.platform.limits.shared import Limiter
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.passwords import rules
from mercato.platform.relay import Relay, to_bus
from mercato.platform.rpc import Channels, Identity, Rule, Server, client_of_call
from mercato.platform.run import run, until_ready
from mercato.platform.sealing import Sealer
from mercato.platform.settings import load
from mercato.platform.tokens import Tokens
from mercato.user.authenticators import Authenticators
from mercato.user.authorization import oauth_handler
from mercato.user.handler import ALLOWED
from mercato.user.handler.account import AccountHandler
from mercato.user.handler.accounts import UserHandler
from mercato.user.handler.oauth import OAuthHandler
from mercato.user.handler.sessions import SessionHandler
from mercato.user.handler.trail import SecurityHandler
from mercato.user.model.account import OPERATOR, EmailTaken
from mercato.user.model.links import LinkKey
from mercato.user.model.session import RefreshTokens
from mercato.user.passwords import Passwords
from mercato.user.peers import Post
from mercato.user.repository import SHAPES
from mercato.user.repository.attempts import MongoDevices, RedisFailures
from mercato.user.repository.oauth import MongoOAuth
from mercato.user.repository.sessions import MongoSessions
from mercato.user.repository.trail import MongoEvents, log_event
from mercato.user.repository.users import OUTBOX, MongoUsers
from mercato.user.settings import UserSettings
from mercato.user.usecase.accounts import Accounts, Registration
from mercato.user.usecase.attempts import Attempts
from mercato.user.usecase.recovery import Recovery
from mercato.user.usecase.second_factor import SecondFactors
from mercato.user.usecase.sessions import Sessions
from mercato.user.usecase.trail import Trail

NAME = "user"
SERVICES = (
    user_pb2.DESCRIPTOR.services_by_name["UserService"],
    account_pb2.DESCRIPTOR.services_by_name["AccountService"],
    security_pb2.DESCRIPTOR.services_by_name["SecurityService"],
    session_pb2.DESCRIPTOR.services_by_name["SessionService"],
    oauth_pb2.DESCRIPTOR.services_by_name["OAuthService"],
)
FURTHER: Final[Mapping[str, Rule]] = {
    "RegisterUser": lambda r: rules().violations(r.password, r.email, r.username),
    "UpdateUserProfile": lambda r: rules().violations(r.password, r.email, r.username),
    "ResetPassword": lambda r: rules().violations(r.password),
}
PUBLIC_URL = "http://127.0.0.1:8080"  # the gateway's, where nobody said another


async def main() -> None:
    """Serves until SIGTERM; returns once everything that was begun is done."""
    settings = load(UserSettings)
    telemetry.start(
        NAME, level=settings.log_level, host=settings.host, metrics_port=settings.metrics_port
    )
    tokens = Tokens.of(settings, keys_file=settings.jwt_keys_file)
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
        trail = Trail(MongoEvents(store), clock.now, log_event, client_of_call)
        attempts = Attempts(
            failures, MongoDevices(store), trail, client_of_call, settings.jwt_secret
        )
        users = MongoUsers(store, outbox, cache)
        verbs = _verbs(settings, store, users, links, trail, attempts, tokens)
        await until_ready("mongo", partial(_make_demo_accounts, verbs.accounts, settings))
        site = settings.public_url or PUBLIC_URL
        post = Post(MailerServiceStub(mailer), channels, links, site, verbs.recovery.answer)
        facts_out = Relay(outbox, cache, name=OUTBOX, kind="nats", dispatch=to_bus(bus))
        mails_out = Relay(outbox, cache, name=OUTBOX, kind="mail", dispatch=post)
        server = _server(verbs, trail, tokens, identity)
        try:
            async with server.listen(settings.host, settings.port):
                await run(facts_out.run(), mails_out.run(), trail.run(), name=NAME)
        finally:
            await trail.flush()


@dataclass(frozen=True, slots=True)
class Verbs:
    """What can be done with accounts."""

    accounts: Accounts
    recovery: Recovery
    factors: SecondFactors
    sessions: Sessions
    oauth: OAuthHandler


@asynccontextmanager
async def _failures(settings: UserSettings) -> AsyncIterator[RedisFailures]:
    quota = Quota.of(settings.rate_limit_attempts if settings.rate_limits else "1000000/1s")
    async with Limiter.open(
        settings.redis_addr, password=settings.redis_password, database=settings.redis_db
    ) as limiter:
        yield RedisFailures(limiter, quota)


def _verbs(
    settings: UserSettings,
    store: Store,
    users: MongoUsers,
    links: LinkKey,
    trail: Trail,
    attempts: Attempts,
    tokens: Tokens,
) -> Verbs:
    passwords, host = Passwords(), urlsplit(settings.public_url).hostname or ""
    refreshing = RefreshTokens(settings.jwt_secret)
    sessions = Sessions(
        MongoSessions(store), MongoOAuth(store), users, tokens, refreshing, trail, clock.now
    )
    authenticators = Authenticators(Sealer(settings.sealing_secret or settings.jwt_secret, "totp"))
    factors = SecondFactors(users, passwords, attempts, authenticators, trail, clock.now)
    accounts = Accounts(
        users, passwords, clock.now, rules=rules(host), links=links, factors=factors,
        sessions=sessions, trail=trail, private=settings.private_registration,
        attempts=attempts,
    )  # fmt: skip
    recovery = Recovery(
        users, passwords, clock.now, rules=rules(host), links=links, sessions=sessions, trail=trail
    )
    oauth = oauth_handler(settings, store, users, accounts, factors, sessions, tokens, trail)
    return Verbs(accounts, recovery, factors, sessions, oauth)


def _server(verbs: Verbs, trail: Trail, tokens: Tokens, identity: Identity | None) -> Server:
    server = Server(SERVICES, tokens, ALLOWED, identity, FURTHER)
    add_UserServiceServicer_to_server(UserHandler(verbs.accounts, verbs.sessions), server.grpc)
    add_AccountServiceServicer_to_server(AccountHandler(verbs.recovery, verbs.factors), server.grpc)
    add_SecurityServiceServicer_to_server(SecurityHandler(trail), server.grpc)
    add_SessionServiceServicer_to_server(SessionHandler(verbs.sessions), server.grpc)
    add_OAuthServiceServicer_to_server(verbs.oauth, server.grpc)
    return server


async def _make_demo_accounts(accounts: Accounts, settings: UserSettings) -> None:
    if not settings.mercato_embedded:
        return
    admin = Registration(settings.demo_admin_email, settings.demo_admin_password, role="admin")
    customer = Registration(settings.demo_customer_email, settings.demo_customer_password)
    former = settings.demo_admin_former, settings.demo_customer_former
    for wish, given_up in zip((admin, customer), former, strict=True):
        if wish.email and wish.password:
            try:
                await accounts.register(wish, OPERATOR)
            except EmailTaken:
                await accounts.renew(wish.email, wish.password, given_up.split())

"""G26: in secure mode nobody gets in at a side door, and no service does another's work."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
import psutil
import pytest
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from mercato.embedded.secure.authority import Authority
from mercato.embedded.secure.rights import RIGHTS, uses_mongo
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.pb import inventory_pb2, mailer_pb2, user_pb2
from mercato.pb.inventory_pb2_grpc import InventoryServiceStub
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform.rpc import Channels, Identity
from mercato.platform.rpc.refusals import Refused
from mercato.platform.tokens import Tokens
from tests.security.conftest import identity, identity_of
from tests.story.shop import Shop

RPC = ("user", "inventory", "order", "mailer")
MAILS = mailer_pb2.QueueMailsRequest()
PROFILES = user_pb2.BatchGetUserProfilesRequest(ids=[new_id()])
UPSERTS = inventory_pb2.BatchUpsertProductsRequest()
RESERVATION = inventory_pb2.GetReservationRequest(order_id=new_id())
# stub, its service, method, request, and who must not
WRONG = [
    (MailerServiceStub, "mailer", "QueueMails", MAILS, ("gateway", "inventory", "audit", "cli")),
    (UserServiceStub, "user", "BatchGetUserProfiles", PROFILES, ("gateway", "mailer", "cli")),
    (InventoryServiceStub, "inventory", "BatchUpsertProducts", UPSERTS, ("order", "gateway")),
    (InventoryServiceStub, "inventory", "GetReservation", RESERVATION, ("user", "mailer")),
]


async def call(
    secure: Platform, stub: Any, service: str, method: str, request: Any, name: str,
    shows: Identity | None,
) -> Any:  # fmt: skip
    """Calls as the service `name`, with its token, showing this certificate."""
    channels = Channels(Tokens(secure.environment["JWT_SECRET"]), name, shows)
    async with channels.open(secure.environment[f"{service.upper()}_SERVICE"], service) as way:
        return await channels.call(getattr(stub(way), method), request, deadline_s=3)


async def test_an_order_is_placed_over_https_and_its_mails_come(secure_shop: Shop) -> None:
    assert secure_shop.url.startswith("https://")
    buyer, product = await secure_shop.register("secure"), await secure_shop.add_product(3)
    answer = await secure_shop.place(buyer, {product: 2}, wait_s=5)
    assert (answer.status_code, answer.json()["stock"]) == (201, "RESERVED")
    await secure_shop.gets_mails(buyer.email, 2)
    assert await secure_shop.stock(product) == 1


async def test_the_gateway_speaks_no_plain_http_and_shows_our_certificate(secure: Platform) -> None:
    port = urlsplit(secure.urls["gateway"]).port
    async with httpx2.AsyncClient() as stranger:
        with pytest.raises(httpx2.TransportError):
            await stranger.get(f"http://127.0.0.1:{port}/livez")
        with pytest.raises(httpx2.ConnectError, match=r"(?i)certificate"):
            await stranger.get(f"https://127.0.0.1:{port}/livez")


@pytest.mark.parametrize(("stub", "service", "method", "request_", "names"), WRONG)
async def test_the_right_certificate_may_not_call_the_wrong_method(
    secure: Platform, stub: Any, service: str, method: str, request_: Any, names: tuple[str, ...]
) -> None:
    for name in names:
        with pytest.raises(Refused, match=f"the service {name} may not call {method}"):
            await call(secure, stub, service, method, request_, name, identity_of(secure, name))


@pytest.mark.parametrize("service", RPC)
async def test_a_caller_without_a_certificate_of_ours_is_refused(
    secure: Platform, service: str, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path / "tls"), Authority(tmp_path / "theirs")
    for name in ("ca.pem", "ca.key"):  # the thief of the authority's key could, but is too late
        (tmp_path / "tls" / name).write_bytes((secure.data_dir / "tls" / name).read_bytes())
    ours = Authority(tmp_path / "tls")
    ours.certify("late", life=timedelta(seconds=-1))
    expired = replace(
        identity_of(secure, "cli"),
        certificate=(tmp_path / "tls" / "late.pem").read_bytes(),
        key=(tmp_path / "tls" / "late.key").read_bytes(),
    )
    stranger = replace(identity(theirs, "gateway"), authority=ours.file.read_bytes())
    target = secure.environment[f"{service.upper()}_SERVICE"]
    for who in (None, stranger, expired):
        channels = Channels(Tokens(secure.environment["JWT_SECRET"]), "gateway", who)
        async with channels.open(target, service) as way:
            check = way.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await check(b"", timeout=3)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stolen_secret_is_worth_nothing_with_anothers_certificate(secure: Platform) -> None:
    for thief in ("inventory", "mailer", "audit"):
        shows = identity_of(secure, thief)
        with pytest.raises(Refused, match="certificate"):
            await call(secure, MailerServiceStub, "mailer", "QueueMails", MAILS, "order", shows)
    shows = identity_of(secure, "order")
    await call(secure, MailerServiceStub, "mailer", "QueueMails", MAILS, "order", shows)


@asynccontextmanager
async def nats(secure: Platform, name: str, password: str) -> AsyncIterator[tuple[Nats, list[str]]]:
    """A connection as this service, and what the server complains of."""
    complaints: list[str] = []

    async def complain(failure: Exception) -> None:
        complaints.append(str(failure).lower())

    client, (host, port) = Nats(), ("127.0.0.1", secure.parts()["nats"].ports["nats"])
    try:
        await client.connect(
            f"nats://{host}:{port}", user=name, password=password, error_cb=complain,
            inbox_prefix=f"_INBOX_{name}", allow_reconnect=False,
        )  # fmt: skip
        yield client, complaints
    finally:
        await client.close()
        await asyncio.sleep(0)


FACTS = ("order.created", "stock.reserved", "user.registered", "product.changed")
API = (
    "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.UPDATE.EVENTS",
    "$JS.API.CONSUMER.DELETE.EVENTS.order", "$JS.API.CONSUMER.DELETE.EVENTS.inventory",
    "$JS.API.STREAM.MSG.GET.EVENTS", "$JS.ACK.EVENTS.other.1.1.1.1.1",
)  # fmt: skip
OWN = {"order": ("order.",), "inventory": ("stock.", "product."), "user": ("user.",), "gateway": ()}


@pytest.mark.parametrize("name", OWN)
async def test_a_service_tells_no_facts_of_another_and_leaves_the_stream_alone(
    secure: Platform, passwords: dict[str, str], name: str
) -> None:
    foreign = [fact for fact in (*FACTS, *API) if not fact.startswith(OWN[name] or ("-",))]
    async with nats(secure, name, passwords[f"nats/{name}"]) as (client, complaints):
        for subject in foreign:
            await client.publish(subject, b"{}")
        await client.flush(timeout=5)
        await asyncio.sleep(0.1)
    refused = {fact for fact in foreign if any(f'"{fact.lower()}"' in told for told in complaints)}
    assert refused == set(foreign)


@pytest.mark.parametrize("name", OWN)
async def test_a_service_hears_no_answers_of_another(
    secure: Platform, passwords: dict[str, str], name: str
) -> None:
    others = [f"_INBOX_{other}.>" for other in (*OWN, "cli") if other != name]
    async with nats(secure, name, passwords[f"nats/{name}"]) as (client, complaints):
        for subject in (*others, ">", "$JS.>", "user.>"):
            await client.subscribe(subject)
        await client.flush(timeout=5)
        await asyncio.sleep(0.1)
        assert len([told for told in complaints if "permissions violation" in told]) == (
            len(others) + 3
        )


@pytest.mark.parametrize(("name", "password"), [("", ""), ("order", "wrong"), ("mailer", "x")])
async def test_nats_lets_nobody_in_without_a_password(
    secure: Platform, name: str, password: str
) -> None:
    with pytest.raises(NatsError, match=r"(?i)authorization"):
        async with nats(secure, name, password):
            pass


@asynccontextmanager
async def mongo(secure: Platform, name: str, password: str) -> AsyncIterator[Any]:
    port = secure.parts()["mongo"].ports["mongodb"]
    login: dict[str, Any] = {"username": name, "password": password} if name else {}
    async with AsyncMongoClient[dict[str, Any]](
        "127.0.0.1", port, directConnection=True, timeoutMS=5000, **login
    ) as client:
        yield client


@pytest.mark.parametrize("name", [name for name in RIGHTS if uses_mongo(name)])
async def test_no_service_reads_or_writes_what_is_anothers(
    secure: Platform, passwords: dict[str, str], name: str
) -> None:
    rights = RIGHTS[name]
    everything = {c for r in RIGHTS.values() for c in (*r.owns, *r.adds_to)}
    async with mongo(secure, name, passwords[f"mongo/{name}"]) as client:
        shop = client["ecommerce"]
        tried = 0
        for each in sorted(everything | {"other"}):
            if each not in (*rights.owns, *rights.adds_to, *rights.reads):
                await _refused(shop[each].find_one())
                tried += 1
            if each not in (*rights.owns, *rights.adds_to):
                await _refused(shop[each].insert_one({"_id": new_id()}))
            if each not in rights.owns:
                await _refused(shop[each].update_one({"_id": 1}, {"$set": {"a": 1}}))
                await _refused(shop[each].delete_many({"_id": 1}))
            await _refused(shop[each].drop())
        assert tried or rights.reads
        await _refused(client["other"]["things"].find_one())
        await _refused(client.admin.command("usersInfo", 1))
        await _refused(client.admin.command("shutdown"))


@pytest.mark.parametrize(("name", "password"), [("", ""), ("order", "wrong"), ("root", "root")])
async def test_mongodb_tells_nothing_to_whom_it_does_not_know(
    secure: Platform, name: str, password: str
) -> None:
    async with mongo(secure, name, password) as client:
        await _refused(client["ecommerce"]["users"].find_one())
    async with mongo(secure, name, password) as client:
        await _refused(client.admin.command("createUser", "me", pwd="x", roles=["root"]))


async def _refused(attempt: Any) -> None:
    with pytest.raises(OperationFailure) as refusal:
        await attempt
    assert refusal.value.code in (13, 18), refusal.value  # Unauthorized, AuthenticationFailed


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_redis_wants_its_password(secure: Platform, password: str | None) -> None:
    port = secure.parts()["redis"].ports["redis"]
    once = Retry(NoBackoff(), 0)
    redis = Redis(host="127.0.0.1", port=port, password=password, protocol=2, retry=once)
    with pytest.raises(AuthenticationError):
        await redis.get("product:1")
    await redis.aclose()


def test_no_password_and_no_key_is_seen_by_others(
    secure: Platform, passwords: dict[str, str]
) -> None:
    known = [*passwords.values(), secure.environment["JWT_SECRET"]]
    assert len(known) > 8
    pids = [part.process.pid for part in secure.parts().values() if part.process]
    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in pids]
    logs = [path.read_text(errors="replace") for path in (secure.data_dir / "logs").iterdir()]
    for secret in known:
        assert not any(secret in text for text in (*lines, *logs))
    folder = secure.data_dir
    private = ("passwords.json", "mongo.key", "redis.conf", "nats.json", "platform.json")
    files = [*(folder / name for name in private), *(folder / "tls").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_every_port_is_on_loopback_alone(secure: Platform) -> None:
    ports = {port for part in secure.parts().values() for port in part.ports.values()}
    pids = {part.process.pid for part in secure.parts().values() if part.process}
    heard = [
        (each.laddr.ip, each.laddr.port) for each in psutil.net_connections("tcp")
        if each.laddr and each.status == psutil.CONN_LISTEN and each.pid in pids
    ]  # fmt: skip
    assert ports <= {port for _, port in heard}
    assert {address.removeprefix("::ffff:") for address, _ in heard} == {"127.0.0.1"}

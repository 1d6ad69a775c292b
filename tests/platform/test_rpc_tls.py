"""Mutual TLS between services: who is let in, by which certificate, and to which method."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from mercato.embedded.secure.authority import Authority
from mercato.kernel.identity import Caller, new_id
from mercato.pb import order_pb2 as pb
from mercato.pb.order_pb2_grpc import OrderServiceStub, add_OrderServiceServicer_to_server
from mercato.platform.rpc import Channels, Identity, Server
from mercato.platform.rpc.refusals import Refused
from mercato.platform.settings import SettingsError
from tests.platform.test_rpc import ALLOWED, ORDER, SERVICE, TOKENS, Answering

ADMIN = Caller(new_id(), "admin")


def identity(authority: Authority, name: str, **how: Any) -> Identity:
    certificate, key = authority.certify(name, **how)
    return Identity(authority.file.read_bytes(), certificate.read_bytes(), key.read_bytes())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
async def target(ours: Authority) -> AsyncIterator[str]:
    server = Server([SERVICE], TOKENS, ALLOWED, identity(ours, "order"))
    add_OrderServiceServicer_to_server(Answering(), server.grpc)
    async with server.listen("127.0.0.1", 0) as port:
        yield f"127.0.0.1:{port}"


async def asked(
    target: str, name: str, who: Identity | None, method: str = "GetOrder", peer: str = "order",
    as_: Caller | None = None,
) -> Any:  # fmt: skip
    channels = Channels(TOKENS, name, who)
    async with channels.open(target, peer) as channel:
        call = getattr(OrderServiceStub(channel), method)
        request = pb.BatchGetOrdersRequest() if method == "BatchGetOrders" else None
        wish = request or pb.GetOrderRequest(id=ORDER)
        return await channels.call(call, wish, speaks_for=as_, deadline_s=2)


async def test_a_service_with_its_own_certificate_is_served(target: str, ours: Authority) -> None:
    gateway = identity(ours, "gateway")
    assert (await asked(target, "gateway", gateway)).user_id == "gateway"
    assert (await asked(target, "gateway", gateway, as_=ADMIN)).user_id == ADMIN.id
    assert (await asked(f"{target},{target}", "gateway", gateway)).id == ORDER


@pytest.mark.parametrize("method", ["GetOrder", "BatchGetOrders"])
async def test_whoever_has_no_certificate_of_ours_is_refused(
    target: str, ours: Authority, theirs: Authority, tmp_path: Path, method: str
) -> None:
    stranger = replace(identity(theirs, "gateway"), authority=ours.file.read_bytes())
    expired = identity(ours, "late", life=timedelta(seconds=-1))
    for who in (None, stranger, expired):
        with pytest.raises(Refused) as refused:
            await asked(target, "gateway", who, method)
        assert refused.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_token_is_worth_nothing_with_anothers_certificate(
    target: str, ours: Authority
) -> None:
    for name in ("mailer", "user", "gateway.order"):
        with pytest.raises(Refused, match="certificate"):
            await asked(target, "gateway", identity(ours, name))


async def test_the_right_certificate_may_not_call_the_wrong_method(
    target: str, ours: Authority
) -> None:
    with pytest.raises(Refused, match="the service order may not call BatchGetOrders"):
        await asked(target, "order", identity(ours, "order"), "BatchGetOrders")


async def test_a_service_that_is_not_named_is_refused(target: str, ours: Authority) -> None:
    assert (await asked(target, "order", identity(ours, "order"))).user_id == "order"
    for name in ("mailer", "admin", "customer", "service"):
        with pytest.raises(Refused, match="may not call GetOrder"):
            await asked(target, name, identity(ours, name))


async def test_a_users_token_needs_the_gateways_or_the_operators_certificate(
    target: str, ours: Authority
) -> None:
    metadata = (("authorization", f"Bearer {TOKENS.access(ADMIN.id, 'admin')}"),)
    for name, code in (("cli", None), ("mailer", grpc.StatusCode.PERMISSION_DENIED)):
        async with Channels(TOKENS, name, identity(ours, name)).open(target, "order") as channel:
            method = OrderServiceStub(channel).GetOrder
            try:
                await method(pb.GetOrderRequest(id=ORDER), timeout=2, metadata=metadata)
                told = None
            except grpc.aio.AioRpcError as failure:
                told = failure.code()
        assert told is code


async def test_a_server_that_is_another_service_is_not_believed(
    target: str, ours: Authority, theirs: Authority
) -> None:
    gateway = identity(ours, "gateway")
    deceived = replace(gateway, authority=theirs.file.read_bytes())
    for who, peer in ((gateway, "user"), (gateway, ""), (deceived, "order")):
        with pytest.raises(Refused) as refused:
            await asked(target, "gateway", who, peer=peer)
        assert refused.value.code is grpc.StatusCode.UNAVAILABLE


def test_a_missing_or_wrong_file_is_named(ours: Authority, tmp_path: Path) -> None:
    certificate, key = ours.certify("order")
    _, other = ours.certify("user")
    good = {"grpc_ca_file": ours.file, "grpc_cert_file": certificate, "grpc_key_file": key}
    told: dict[str, dict[str, object]] = {
        "GRPC_KEY_FILE is missing": {"grpc_key_file": ""},
        "GRPC_CA_FILE: .*: no such file": {"grpc_ca_file": tmp_path / "none.pem"},
        "GRPC_CERT_FILE holds no certificate": {"grpc_cert_file": key},
        "GRPC_KEY_FILE holds no private key": {"grpc_key_file": certificate},
        "GRPC_KEY_FILE is not the key of": {"grpc_key_file": other},
    }
    for problem, change in told.items():
        files = SimpleNamespace(**{name: str(path) for name, path in (good | change).items()})
        with pytest.raises(SettingsError, match=problem):
            Identity.of(files)
    assert Identity.of(SimpleNamespace(**dict.fromkeys(good, ""))) is None


def test_an_authority_and_its_certificates_stay_until_they_near_their_end(tmp_path: Path) -> None:
    first = Authority(tmp_path)
    certificate, _ = first.certify("gateway", ["localhost", "127.0.0.1"])
    kept = certificate.read_bytes()
    again = Authority(tmp_path)
    again.certify("gateway", ["localhost", "127.0.0.1"])
    assert certificate.read_bytes() == kept
    again.certify("gateway", ["shop.example"])
    assert certificate.read_bytes() != kept
    certificate.write_bytes(again.certify("order", life=timedelta(days=30))[0].read_bytes())
    soon = (tmp_path / "order.pem").read_bytes()
    again.certify("order")
    assert (tmp_path / "order.pem").read_bytes() != soon
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    trusting = ssl.create_default_context(cafile=again.file)
    trusting.load_cert_chain(tmp_path / "order.pem", tmp_path / "order.key")

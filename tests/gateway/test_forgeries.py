"""Forged tokens at the gateway's own door, and at a service's: each is 401."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx2 as httpx
import pytest

from mercato.gateway.server import HEAD_BYTES_MAX
from mercato.pb import user_pb2, user_pb2_grpc
from mercato.platform.settings import Secret, Settings
from mercato.platform.tokens import KeyFile, Tokens, rotate
from tests.forgeries import HUGE, Forger
from tests.gateway.conftest import SECRET, served
from tests.gateway.fakes import services


@dataclass
class Doors:
    """A gateway and a user service that take tokens of the same keys, and who forges them."""

    http: httpx.AsyncClient
    user: str
    forger: Forger


@pytest.fixture(scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    folder: Path = tmp_path_factory.mktemp("keys")
    private, public = folder / "private.json", folder / "public.json"
    rotate(private, public)
    settings = Settings(
        jwt_secret=Secret(SECRET), jwt_jwks_file=str(public), public_url="http://shop.example"
    )
    tokens = Tokens.of(settings, keys_file=str(private))
    forger = Forger(tokens, KeyFile(private).known()[-1], SECRET)
    told = {"jwt_jwks_file": str(public), "public_url": settings.public_url}
    async with (
        services(tokens) as fakes,
        served(**fakes.targets, **told) as gateway,
        httpx.AsyncClient(base_url=gateway.url, timeout=10) as http,
    ):
        fakes.users.profiles[forger.user_id] = user_pb2.UserProfile(id=forger.user_id)
        yield Doors(http, fakes.targets["user_service"], forger)


def headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_no_forged_token_opens_the_gateway(doors: Doors) -> None:
    for good in (doors.forger.check(), doors.forger.genuine):
        assert (await doors.http.get("/api/users/me", headers=headers(good))).status_code == 200
    forged = doors.forger.all() | {
        "a service's token": doors.forger.service,
        "far too long": "A" * HUGE,
        "a genuine one with far too much behind": doors.forger.genuine + "A" * 60_000,
    }
    assert len(forged) >= 60
    believed = {}
    for name, token in forged.items():
        answer = await doors.http.get("/api/sessions", headers=headers(token))
        if answer.status_code != (431 if len(token) > HEAD_BYTES_MAX else 401):
            believed[name] = answer.status_code
    assert believed == {}


async def test_no_forged_token_opens_a_service(doors: Doors) -> None:
    async with grpc.aio.insecure_channel(doors.user) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)

        async def code(token: str) -> grpc.StatusCode:
            request = user_pb2.UserID(id=doors.forger.user_id)
            metadata = (("authorization", f"Bearer {token}"),)
            try:
                await stub.GetUserProfile(request, timeout=5, metadata=metadata)
            except grpc.aio.AioRpcError as failure:
                return failure.code()
            return grpc.StatusCode.OK

        assert await code(doors.forger.check()) == grpc.StatusCode.OK
        forged = doors.forger.all()
        codes = {name: await code(token) for name, token in forged.items()}
        believed = {n: c for n, c in codes.items() if c != grpc.StatusCode.UNAUTHENTICATED}
        assert believed == {}


async def test_the_public_keys_are_published_and_check_our_tokens(doors: Doors) -> None:
    answer = await doors.http.get("/.well-known/jwks.json")
    (key,) = answer.json()["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["alg"], key["kid"]) == ("ES256", doors.forger.key.id)

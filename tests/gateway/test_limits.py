"""Limits at the edge: whom they count together, what they say, and what they cover."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest

from mercato.gateway.limits import FOR_ANYONE, class_of, covering
from mercato.gateway.oauth.providers import SignIns
from mercato.gateway.operation import Operation, Who
from mercato.gateway.sessions import Sessions
from mercato.gateway.settings import GatewaySettings
from mercato.gateway.users import Users
from mercato.platform.settings import SettingsError, load
from tests.gateway.conftest import Shop, served

SOME = {"email": "ada@example.com", "password": "a long pass phrase"}
LIMITS: dict[str, Any] = {
    "rate_limits": True,
    "trusted_proxies": "127.0.0.0/8",
    "rate_limit_login": "3/3600s",
    "rate_limit_read": "4/3600s",
    "rate_limit_write": "2/3600s",
    "rate_limit_token": "1/3600s",
    "rate_limit_address_factor": 2,
}


@pytest.fixture
async def limited(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway with narrow limits, no Redis, and the services of `shop`."""
    async with (
        served(**(LIMITS | shop.services.targets)) as here,
        httpx.AsyncClient(base_url=here.url) as http,
    ):
        yield http


async def login(http: httpx.AsyncClient, address: str) -> httpx.Response:
    headers = {"x-forwarded-for": address}
    return await http.post("/api/users/authenticate", json=SOME, headers=headers)


async def test_a_client_that_asks_too_much_is_told_when_to_come_back(
    limited: httpx.AsyncClient,
) -> None:
    answers = [await login(limited, "192.0.2.1") for _ in range(5)]
    assert [answer.status_code == 429 for answer in answers] == [False] * 3 + [True] * 2
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "exhausted"
    assert 1190 < int(refused.headers["retry-after"]) <= 1200
    assert (await login(limited, "192.0.2.2")).status_code != 429


async def test_a_refused_login_is_counted_under_its_route(limited: httpx.AsyncClient) -> None:
    for _ in range(4):
        await login(limited, "192.0.2.44")
    refused = await login(limited, "192.0.2.44")
    assert refused.json()["instance"] == "/api/users/authenticate"
    assert refused.headers["cache-control"] == "no-store"
    assert refused.headers["ratelimit"].startswith('"login";r=0;')
    line = 'http_requests_total{method="POST",route="/api/users/authenticate",status="429"}'
    assert line in (await limited.get("/metrics")).text


@pytest.mark.parametrize("path", FOR_ANYONE)
def test_what_is_refused_before_it_is_routed_is_for_anyone(path: str) -> None:
    declared = [each for kind in (Users, Sessions, SignIns) for each in _declared(kind, path)]
    assert [each.who for each in declared] == [Who.ANYONE]
    assert class_of("POST", path) == FOR_ANYONE[path]


def _declared(kind: type, path: str) -> list[Operation]:
    found = (getattr(member, "operation", None) for member in vars(kind).values())
    return [each for each in found if each and (each.method, each.path) == ("POST", path)]


async def test_answers_say_what_is_left(limited: httpx.AsyncClient) -> None:
    first, second = [await login(limited, "192.0.2.3") for _ in range(2)]
    assert first.headers["ratelimit-policy"] == '"login";q=3;w=3600'
    assert first.headers["ratelimit"] == '"login";r=2;t=1200'
    assert re.fullmatch(r'"login";r=1;t=(2399|2400)', second.headers["ratelimit"])
    health = await limited.get("/livez")
    assert "ratelimit" not in health.headers


async def test_a_household_of_ipv6_is_one_client(limited: httpx.AsyncClient) -> None:
    answers = [await login(limited, f"2001:db8::{number:x}") for number in range(4)]
    assert answers[-1].status_code == 429
    assert (await login(limited, "2001:db8:0:1::1")).status_code != 429


async def test_a_user_has_a_quota_and_their_address_a_wider_one(
    shop: Shop, limited: httpx.AsyncClient
) -> None:
    async def change(who: httpx.AsyncClient, address: str) -> httpx.Response:
        headers = {**who.headers, "x-forwarded-for": address}
        return await limited.patch("/api/users/me", json={"x": 1}, headers=headers)

    seen = [await change(shop.ada, f"192.0.2.{number}") for number in range(3)]
    assert [answer.status_code for answer in seen] == [422, 422, 429]
    assert seen[0].headers["ratelimit-policy"] == '"write-user";q=2;w=3600, "write";q=4;w=3600'
    there = [await change(who, "198.51.100.1") for who in (shop.bob, shop.bob, shop.admin)]
    assert [answer.status_code for answer in there] == [422, 422, 422]


async def test_reads_are_counted_without_redis_and_a_429_comes_before_the_body_is_read(
    shop: Shop, limited: httpx.AsyncClient
) -> None:
    address = {"x-forwarded-for": "192.0.2.9"}
    reads = [await limited.get("/api/inventory", headers=address) for _ in range(9)]
    assert [answer.status_code for answer in reads[-2:]] == [200, 429]
    for _ in range(3):
        await login(limited, "192.0.2.8")
    answer = await limited.post(
        "/api/users/authenticate", content=b"{", headers={"x-forwarded-for": "192.0.2.8"}
    )
    assert answer.status_code == 429


async def test_tokens_cannot_be_guessed_without_end(limited: httpx.AsyncClient) -> None:
    headers = {"x-forwarded-for": "192.0.2.6", "authorization": "Bearer nonsense"}
    seen = [(await limited.get("/api/users/me", headers=headers)).status_code for _ in range(10)]
    assert seen == [401] * 8 + [429] * 2


async def test_what_is_no_operation_is_limited_too(limited: httpx.AsyncClient) -> None:
    address = {"x-forwarded-for": "192.0.2.7"}
    answers = [await limited.post("/oauth/token", headers=address) for _ in range(2)]
    assert answers[0].headers["ratelimit-policy"] == '"token";q=1;w=3600'
    assert answers[1].status_code == 429
    assert answers[1].headers["retry-after"]
    assert answers[1].headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/api/users/authenticate", "login"),
        ("POST", "/api/users/register", "register"),
        ("POST", "/api/users/password/forgot", "reset"),
        ("POST", "/api/users/verify-email/resend", "reset"),
        ("POST", "/api/sessions/refresh", "token"),
        ("POST", "/oauth/token", "token"),
        ("POST", "/oauth/authorize", "login"),
        ("POST", "/account/reset", "reset"),
        ("POST", "/api/orders", "order"),
        ("PUT", "/api/orders/{id}", "write"),
        ("DELETE", "/api/sessions/{id}", "write"),
        ("GET", "/api/users/{id}", "read"),
        ("GET", "/readyz", None),
        ("GET", "/docs", None),
    ],
)
def test_every_route_has_its_class(method: str, path: str, name: str | None) -> None:
    assert class_of(method, path) == name


@pytest.mark.parametrize(
    ("method", "path", "pattern"),
    [
        ("POST", "/account/reset", "/account/.*"),
        ("POST", "/oauth/token", "/oauth/(token|revoke|introspect)"),
        ("GET", "/oauth/providers/a-stranger's-text/start", "/oauth/.*"),
        ("POST", "/a-stranger's-text", "unknown"),
    ],
)
def test_what_no_route_takes_is_told_by_its_pattern(method: str, path: str, pattern: str) -> None:
    assert covering(method, path) == pattern


@pytest.mark.parametrize(
    ("name", "value"),
    [("RATE_LIMIT_LOGIN", "10 a minute"), ("RATE_LIMIT_ORDER", "0/1s"), ("RATE_LIMITS", "perhaps")],
)
def test_a_wrong_figure_is_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(GatewaySettings, {"JWT_SECRET": "s" * 32, name: value})

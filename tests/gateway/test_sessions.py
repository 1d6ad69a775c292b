"""Sessions over REST: staying signed in, signing out, and what that does at every gateway."""

import asyncio
import time
from typing import Any

import httpx2 as httpx

from tests.gateway.conftest import Shop, served

LOGIN = {"email": "sessions@example.com", "password": "correct horse battery"}


async def signed_in(shop: Shop) -> dict[str, Any]:
    await shop.nobody.post("/api/users/register", json=LOGIN)
    answer = await shop.nobody.post("/api/users/authenticate", json=LOGIN)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def bearer(granted: dict[str, Any]) -> dict[str, Any]:
    return {"authorization": f"Bearer {granted['token']}"}


async def refreshed(shop: Shop, token: str) -> httpx.Response:
    return await shop.nobody.post("/api/sessions/refresh", json={"refresh_token": token})


async def test_a_session_goes_on_by_its_refresh_token(shop: Shop) -> None:
    first = await signed_in(shop)
    assert first["expires_in"] == 900
    assert first["refresh_expires_in"] == 14 * 86_400
    answer = await refreshed(shop, first["refresh_token"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    second = answer.json()
    assert second.keys() == first.keys()
    assert second["refresh_token"] != first["refresh_token"]
    for granted in (first, second):
        assert (await shop.nobody.get("/api/users/me", headers=bearer(granted))).is_success
    again = (await refreshed(shop, first["refresh_token"])).json()
    assert again["refresh_token"] == second["refresh_token"], "a lost answer is given again"


async def test_what_is_no_refresh_token_is_refused(shop: Shop) -> None:
    granted = await signed_in(shop)
    for token in ("mrt_", granted["token"], granted["refresh_token"][:-1]):
        answer = await refreshed(shop, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "session-over")
    as_access = {"authorization": f"Bearer {granted['refresh_token']}"}
    assert (await shop.nobody.get("/api/users/me", headers=as_access)).status_code == 401


async def test_one_sees_where_one_is_signed_in_and_signs_out_there(shop: Shop) -> None:
    here, there = await signed_in(shop), await signed_in(shop)
    me = bearer(here)
    found = (await shop.nobody.get("/api/sessions", headers=me)).json()["sessions"]
    assert [each["current"] for each in found].count(True) == 1
    assert {"127.0.0.1"} == {each["address"] for each in found}
    assert "token" not in found[0]
    current = next(each["id"] for each in found if each["current"])
    others = [each["id"] for each in found if not each["current"]]
    for other in others:
        assert (await shop.ada.delete(f"/api/sessions/{other}")).status_code == 404
        assert (await shop.nobody.delete(f"/api/sessions/{other}", headers=me)).is_success
    for work in (shop.nobody.get("/api/users/me", headers=bearer(there)),
                 refreshed(shop, there["refresh_token"])):  # fmt: skip
        assert (await work).status_code == 401
    left = (await shop.nobody.get("/api/sessions", headers=me)).json()["sessions"]
    assert [each["id"] for each in left] == [current]
    assert (await shop.nobody.delete("/api/sessions/current", headers=me)).json()["ended"] == 1
    assert (await shop.nobody.get("/api/users/me", headers=me)).status_code == 401
    assert (await shop.ada.delete("/api/sessions/current")).status_code == 404, "it has none"


async def test_every_gateway_refuses_an_ended_session_within_a_second(shop: Shop) -> None:
    async with (
        served(**shop.services.targets) as other,
        httpx.AsyncClient(base_url=other.url) as elsewhere,
    ):
        one, two = await signed_in(shop), await signed_in(shop)
        for granted in (one, two):
            assert (await elsewhere.get("/api/users/me", headers=bearer(granted))).is_success
        everywhere = await shop.nobody.delete("/api/sessions", headers=bearer(one))
        ended = time.monotonic()
        assert everywhere.json()["ended"] >= 2
        for granted in (one, two):
            while (await elsewhere.get("/api/users/me", headers=bearer(granted))).is_success:
                assert time.monotonic() - ended < 1
                await asyncio.sleep(0.02)
    async with served(**shop.services.targets) as new, httpx.AsyncClient(base_url=new.url) as late:
        answer = await late.get("/api/users/me", headers=bearer(two))
        assert answer.status_code == 401, "a gateway that has just started knows too"


async def test_a_gateway_goes_on_with_what_it_knows_when_nobody_tells_it_more(shop: Shop) -> None:
    away = shop.services.targets | {"user_service": "127.0.0.1:9"}
    async with served(**away) as alone, httpx.AsyncClient(base_url=alone.url) as client:
        granted = await signed_in(shop)
        answer = await client.get("/api/orders", headers=bearer(granted))
        assert answer.status_code == 200


async def test_without_keys_there_is_none_to_publish(shop: Shop) -> None:
    answer = await shop.nobody.get("/.well-known/jwks.json")
    assert answer.json() == {"keys": []}
    assert answer.headers["cache-control"] == "public, max-age=60"

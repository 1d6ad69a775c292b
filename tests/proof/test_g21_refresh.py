"""G21: a stolen refresh token is noticed, on every gateway, and a lost answer costs nobody."""

import asyncio
import time
from dataclasses import asdict
from typing import Any

import httpx2
import pytest

from mercato.gateway.settings import GatewaySettings
from mercato.platform.settings import load
from mercato.user.model.session import GRACE
from tests.gateway.conftest import served
from tests.proof.figures import Figures, sized
from tests.story.shop import PASSWORD, Shop

AT_ONCE = 50
LOST = sized(1000)
pytestmark = pytest.mark.timeout(600)


async def signed_in(shop: Shop) -> dict[str, Any]:
    buyer = await shop.register("refresh")
    login = {"email": buyer.email, "password": PASSWORD}
    return dict((await shop.http.post("/api/users/authenticate", json=login)).json())


async def refresh(shop: Shop, token: str) -> httpx2.Response:
    return await shop.http.post("/api/sessions/refresh", json={"refresh_token": token})


async def test_fifty_at_once_get_one_successor(shop: Shop, figures: Figures) -> None:
    granted = await signed_in(shop)
    work = (refresh(shop, granted["refresh_token"]) for _ in range(AT_ONCE))
    answers = await asyncio.gather(*work)
    assert {answer.status_code for answer in answers} == {200}
    successors = {answer.json()["refresh_token"] for answer in answers}
    figures.tell("G21", at_once=AT_ONCE, successors=len(successors))
    assert len(successors) == 1


async def test_a_replay_after_the_grace_ends_the_session_on_both_gateways(
    shop: Shop, figures: Figures
) -> None:
    first = await signed_in(shop)
    second = (await refresh(shop, first["refresh_token"])).json()
    headers = {"Authorization": f"Bearer {second['token']}"}
    settings = asdict(load(GatewaySettings, shop.platform.environment)) | {"port": 0}
    async with served(**settings) as other, httpx2.AsyncClient() as http:
        urls = [f"{url}/api/users/me" for url in (shop.url, other.url)]
        assert [(await http.get(url, headers=headers)).status_code for url in urls] == [200, 200]
        await asyncio.sleep(GRACE.total_seconds() + 0.5)
        assert (await refresh(shop, first["refresh_token"])).status_code == 401
        began, dead_s = time.monotonic(), []
        for url in urls:
            while (await http.get(url, headers=headers)).status_code != 401:
                assert time.monotonic() - began < 5
                await asyncio.sleep(0.01)
            dead_s.append(time.monotonic() - began)
    figures.tell("G21", gateways=len(urls), dead_after_s=max(dead_s))
    assert max(dead_s) <= 1
    assert (await refresh(shop, second["refresh_token"])).status_code == 401


async def test_lost_answers_sign_nobody_out(shop: Shop, figures: Figures) -> None:
    granted = await signed_in(shop)
    lost = signed_out = 0
    for number in range(LOST):
        token = granted["refresh_token"]
        patience_s = 0.001 * (number % 12)  # some are lost before they arrive, some after
        sent = asyncio.ensure_future(refresh(shop, token))
        done, _ = await asyncio.wait([sent], timeout=patience_s)
        if not done:
            sent.cancel()
            lost += 1
        await asyncio.gather(sent, return_exceptions=True)
        answer = await refresh(shop, token)
        if answer.status_code == 200:
            granted = answer.json()
        else:
            signed_out += 1
            granted = await signed_in(shop)
    figures.tell("G21", refreshes=LOST, answers_lost=lost, signed_out=signed_out)
    assert lost > LOST / 2
    assert signed_out == 0

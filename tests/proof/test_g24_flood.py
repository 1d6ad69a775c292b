"""G24: a flood of logins takes nothing from orders, and keeps nobody out who is known."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import psutil
import pytest

from mercato.embedded.supervisor import Platform
from mercato.storm.wire import NoAnswer, Wire
from tests.proof.figures import Crowd, Figures, chosen, p99_ms, sized
from tests.proof.traffic import Traffic, paced
from tests.story.shop import PASSWORD, Customer, Shop

LOGINS_PER_S = chosen("LOGINS_PER_S", 200)
FLOOD_S = 60
WARM_S = 5  # the first orders pay for what later ones find ready
ORDERS_PER_S = 10
SLOWER_MAX = 2.0
SLOWER_MS_MIN = 25.0  # below this p99 a ratio says more of the machine than of us
RSS_MB_MAX = 300
HOME = "192.0.2.1"
FIGURES = {
    "TRUSTED_PROXIES": "127.0.0.0/8",  # the flood comes from everywhere at once
    "RATE_LIMIT_LOGIN": "30/60s burst 20",
    "RATE_LIMIT_ATTEMPTS": "10/3600s",  # what it bears comes back after the flood, not within it
}
pytestmark = pytest.mark.timeout(600)


@dataclass
class Flood:
    """Logins that go on whether or not those before have been answered, by status."""

    port: int
    victim: Customer
    per_s: float
    answers: Counter[int] = field(default_factory=Counter)
    free: list[Wire] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        began, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while (past_s := time.monotonic() - began) < seconds:
                while sent < past_s * self.per_s:
                    group.create_task(self._one(sent))
                    sent += 1
                await asyncio.sleep(0.01)
        for wire in self.free:
            wire.close()

    async def _one(self, number: int) -> None:
        """By turns at the victim, at nobody in particular, and all from one address."""
        somewhere = f"198.51.{number // 250 % 250}.{number % 250}"
        email, address = (
            (self.victim.email, somewhere),
            (f"nobody-{number}@example.com", somewhere),
            (f"nobody-{number}@example.com", "203.0.113.1"),
        )[number % 3]
        wire = self.free.pop() if self.free else Wire(self.port)
        body = {"email": email, "password": "a wrong password"}
        try:
            path = "/api/users/authenticate"
            answer = await wire.call("POST", path, body=body, client=address)
        except NoAnswer:
            self.answers[0] += 1
        else:
            self.answers[answer.status] += 1
        self.free.append(wire)


def spare(free_cores: float) -> float:
    """The part of the flood that fits beside a shop on this machine: two cores are for all of it.

    Refusing 200 logins a second takes most of one core, and the shop needs another.
    """
    return min(1.0, max(0.2, free_cores - 1))


async def signed_in(http: httpx2.AsyncClient, email: str, password: str, address: str) -> int:
    body, headers = {"email": email, "password": password}, {"X-Forwarded-For": address}
    try:
        answer = await http.post("/api/users/authenticate", json=body, headers=headers)
    except httpx2.TransportError:
        return 0
    return answer.status_code


@pytest.fixture
async def flooded(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    for name, value in FIGURES.items():
        monkeypatch.setenv(name, value)
    home = tmp_path_factory.mktemp("flood")
    async with Platform.open(home) as platform, Shop.of(platform) as shop:
        yield shop


async def test_orders_go_on_and_who_is_known_comes_in(flooded: Shop, figures: Figures) -> None:
    """Half of the calm comes before the flood and half after it: a machine's pace drifts."""
    shop, seconds = flooded, float(sized(FLOOD_S, least=8))
    owner, buyer = await shop.register("owner"), await shop.register()
    product = await shop.add_product(1_000_000)
    assert await signed_in(shop.http, owner.email, PASSWORD, HOME) == 200
    async with paced(shop, buyer, product, ORDERS_PER_S):
        await asyncio.sleep(WARM_S)
    calm_crowd = Crowd()
    async with paced(shop, buyer, product, ORDERS_PER_S) as before:
        await asyncio.sleep(seconds / 2)
    per_s, crowd = LOGINS_PER_S * spare(calm_crowd.free_cores), Crowd()
    came_in = Counter[int]()
    flood = Flood(shop.platform.parts()["gateway"].ports["http"], owner, per_s)
    async with (
        paced(shop, buyer, product, ORDERS_PER_S) as traffic,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(flood.run(seconds))
        for _ in range(int(seconds / 2)):
            await asyncio.sleep(2)
            came_in[await signed_in(shop.http, owner.email, PASSWORD, HOME)] += 1
    await asyncio.sleep(WARM_S)
    async with paced(shop, buyer, product, ORDERS_PER_S) as after:
        await asyncio.sleep(seconds / 2)
    calm = Traffic(seconds=[*before.seconds, *after.seconds])
    _tell(figures, calm, traffic, flood, crowd, came_in, _largest_mb(shop))
    assert came_in == {200: came_in.total()}, "the owner was kept out"
    assert not traffic.refused
    assert p99_ms(traffic.seconds) <= max(SLOWER_MAX * p99_ms(calm.seconds), SLOWER_MS_MIN)
    assert flood.answers[429] > flood.answers.total() / 2
    assert set(flood.answers) <= {401, 429, 503}
    assert await signed_in(shop.http, owner.email, PASSWORD, "192.0.2.200") == 429
    assert _largest_mb(shop) <= RSS_MB_MAX


def _tell(
    figures: Figures, calm: Traffic, traffic: Traffic, flood: Flood, crowd: Crowd,
    came_in: Counter[int], largest_mb: float,
) -> None:  # fmt: skip
    figures.tell(
        "G24", logins=flood.answers.total(), logins_per_s=flood.per_s, refused=flood.answers[429],
        wrong=flood.answers[401], other=flood.answers[503], order_p99_ms_calm=p99_ms(calm.seconds),
        order_p99_ms_flood=p99_ms(traffic.seconds), orders=len(traffic.placed),
        owner_came_in=came_in[200], owner_tried=came_in.total(), largest_mb=largest_mb,
        free_cores=crowd.free_cores,
    )  # fmt: skip


def _largest_mb(shop: Shop) -> float:
    """The memory of our largest service."""
    parts = shop.platform.parts()
    sizes = [
        psutil.Process(parts[name].process.pid).memory_info().rss  # type: ignore[union-attr]
        for name in ("gateway", "user", "order", "inventory")
    ]
    return max(sizes) / 1e6

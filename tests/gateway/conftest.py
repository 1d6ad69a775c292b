"""A gateway on a real socket, before hand-written services on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest

from mercato.gateway.main import gateway
from mercato.gateway.settings import GatewaySettings
from mercato.kernel.identity import Role
from mercato.platform.settings import Secret
from mercato.platform.tasks import Tasks
from mercato.platform.tokens import Tokens
from tests.gateway.fakes import Services, services

SECRET = "a secret of the tests, of enough bytes"


@dataclass
class Shop:
    """A running gateway with what stands behind it, and a client for each kind of caller."""

    url: str
    tokens: Tokens
    services: Services
    nobody: httpx.AsyncClient
    ada: httpx.AsyncClient
    bob: httpx.AsyncClient
    admin: httpx.AsyncClient
    ids: dict[str, str]


@dataclass
class Served:
    """A gateway of one test's own."""

    url: str
    serving: asyncio.Task[None]


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    """A gateway on a free port, until the end or until its task is cancelled."""
    told: dict[str, Any] = {
        "port": 0,
        "jwt_secret": Secret(SECRET),
        "nats_url": Secret("nats://127.0.0.1:9"),
        "redis_addr": "127.0.0.1:9",
        "rate_limits": False,
    }
    async with gateway(GatewaySettings(**(told | settings))) as (port, *loops):
        tasks = Tasks()
        serving, *watching = (tasks.start(each) for each in loops)
        try:
            yield Served(f"http://127.0.0.1:{port}", serving)
        finally:
            serving.cancel()
            for task in watching:
                task.cancel()
            await tasks.drain(15)


@pytest.fixture(scope="package")
async def running() -> AsyncIterator[Shop]:
    tokens = Tokens(SECRET)
    async with AsyncExitStack() as stack:
        fakes = await stack.enter_async_context(services(tokens))
        here = await stack.enter_async_context(served(**fakes.targets))
        roles: dict[str, Role] = {"ada": "customer", "bob": "customer", "admin": "admin"}
        ids = {name: fakes.users.add(f"{name}@example.com", name, roles[name]) for name in roles}
        headers: dict[str, dict[str, str]] = {
            name: {"authorization": f"Bearer {tokens.access(ids[name], roles[name])}"}
            for name in roles
        }
        nobody, ada, bob, admin = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=here.url, headers=each))
            for each in ({}, headers["ada"], headers["bob"], headers["admin"])
        ]
        yield Shop(here.url, tokens, fakes, nobody, ada, bob, admin, ids)


@pytest.fixture
async def shop(running: Shop) -> AsyncIterator[Shop]:
    yield running
    behind = running.services
    for fake in (behind.users, behind.inventory, behind.orders, behind.mailer):
        fake.seen.clear()
        fake.failures.clear()
    behind.inventory.batches.clear()
    behind.orders.batches.clear()
    behind.orders.decide_after_reads = None

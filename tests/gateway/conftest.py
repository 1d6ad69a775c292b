"""A gateway on a real socket, before hand-written services on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2 as httpx
import pytest

from mercato.gateway.main import GatewaySettings, gateway
from mercato.kernel.identity import Role
from mercato.platform.settings import Secret
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


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[Shop]:
    tokens = Tokens(SECRET)
    async with services(tokens) as fakes:
        settings = GatewaySettings(
            port=0,
            jwt_secret=Secret(SECRET),
            nats_url=Secret("nats://127.0.0.1:9"),
            **fakes.targets,
        )
        async with gateway(settings) as (port, *loops), asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in loops]
            url = f"http://127.0.0.1:{port}"
            ids = {
                "ada": fakes.users.add("ada@example.com", "ada"),
                "bob": fakes.users.add("bob@example.com", "bob"),
                "admin": fakes.users.add("root@example.com", "root", "admin"),
            }
            roles: dict[str, Role] = {"ada": "customer", "bob": "customer", "admin": "admin"}
            clients = {
                name: httpx.AsyncClient(
                    base_url=url,
                    headers={"authorization": f"Bearer {tokens.access(ids[name], role)}"},
                )
                for name, role in roles.items()
            }
            nobody = httpx.AsyncClient(base_url=url)
            yield Shop(
                url, tokens, fakes, nobody, clients["ada"], clients["bob"], clients["admin"], ids
            )
            for client in (nobody, *clients.values()):
                await client.aclose()
            for task in tasks:
                task.cancel()


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

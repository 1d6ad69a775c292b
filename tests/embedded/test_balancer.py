"""The balancer: requests find a gateway that lives, and none is done twice."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import pytest

from mercato.embedded import probes
from mercato.embedded.balancer import backends
from mercato.embedded.balancer.backends import Backends
from mercato.embedded.balancer.proxy import Proxy
from mercato.embedded.ports import LOOPBACK, addresses
from mercato.platform.tasks import Tasks, end

SILENT_S = 0.5  # without an answer makes a gateway silent


@dataclass
class Gateway:
    """Answers each request with its own name and the request's body, or goes away instead."""

    name: str
    status: int = 200
    dies: bool = False
    silent: bool = False
    served: list[str] = field(default_factory=list)
    port: int = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        body = await reader.readexactly(length)
        line = head.partition("\r\n")[0]
        probe = "/readyz" in line
        if not probe:
            self.served.append(line.split()[0])
        if self.silent:
            await asyncio.sleep(30)
        if self.dies and not probe:
            return False
        text = self.name.encode() + b" " + body
        status = self.status if probe else 200
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n".encode())
        if not line.startswith("head"):
            writer.write(text)
        await writer.drain()
        return True


@dataclass
class Scene:
    """Two gateways behind a balancer, and a client of it."""

    one: Gateway
    two: Gateway
    http: httpx2.AsyncClient
    port: int


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(backends, "ANSWER_S", SILENT_S)
    one, two = Gateway("one"), Gateway("two")
    servers = []
    for gateway in (one, two):
        servers.append(await asyncio.start_server(gateway.connected, LOOPBACK, 0))
        gateway.port = servers[-1].sockets[0].getsockname()[1]
    gateways, calls = Backends(addresses([one.port, two.port]).split(",")), Tasks()
    proxy = Proxy(gateways, calls)
    servers.append(await asyncio.start_server(proxy.connected, LOOPBACK, 0))
    port = servers[-1].sockets[0].getsockname()[1]
    watching = calls.start(gateways.watch())
    await asyncio.sleep(0.1)
    async with httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=10) as http:
        yield Scene(one, two, http, port)
    await end([watching])
    await calls.drain(1)
    for server in servers:
        server.close()


async def fresh(scene: Scene, method: str, **more: dict[str, str]) -> httpx2.Response:
    """Asks over a connection of its own."""
    async with httpx2.AsyncClient(base_url=scene.http.base_url, timeout=10) as http:
        return await http.request(method, "/thing", **more)  # type: ignore[arg-type]


async def test_connections_are_spread_and_one_stays_with_its_gateway(scene: Scene) -> None:
    assert {(await fresh(scene, "GET")).text for _ in range(4)} == {"one ", "two "}
    assert len({(await scene.http.get("/thing")).text for _ in range(4)}) == 1


async def test_a_read_that_a_dying_gateway_leaves_open_is_answered_by_the_other(
    scene: Scene,
) -> None:
    scene.one.dies = True
    answers = [await fresh(scene, "GET") for _ in range(4)]
    assert {answer.text for answer in answers} == {"two "}
    assert scene.one.served, "the dying one was never asked"


async def test_a_request_that_may_have_been_done_is_not_sent_again(scene: Scene) -> None:
    scene.one.dies = scene.two.dies = True
    for _ in range(4):
        with pytest.raises(httpx2.RemoteProtocolError):
            await fresh(scene, "POST")
    assert len(scene.one.served + scene.two.served) == 4


async def test_a_request_with_a_key_is_sent_again(scene: Scene) -> None:
    scene.one.dies = True
    for _ in range(4):
        answer = await fresh(scene, "POST", headers={"Idempotency-Key": "k"}, json={"a": "b"})
        assert answer.text == 'two {"a":"b"}'


async def test_a_gateway_that_is_stopping_gets_no_new_request(scene: Scene) -> None:
    first = (await scene.http.get("/thing")).text
    staying, going = (scene.two, scene.one) if first == "one " else (scene.one, scene.two)
    going.status = 503
    await asyncio.sleep(0.5)
    assert (await scene.http.post("/thing")).text == f"{staying.name} "


async def test_a_frozen_gateway_is_left_for_another(scene: Scene) -> None:
    scene.one.silent = True
    async with asyncio.timeout(SILENT_S + 1.5):
        answers = [await fresh(scene, "GET") for _ in range(4)]
    assert {answer.text for answer in answers} == {"two "}


async def test_a_request_is_sent_once_where_all_gateways_have_fallen_silent(scene: Scene) -> None:
    scene.one.silent = True
    await asyncio.sleep(SILENT_S + 0.5)  # one is given up while two would do
    scene.two.silent = True
    await asyncio.sleep(SILENT_S + 0.5)
    scene.one.served.clear()
    scene.two.served.clear()
    waiting = [asyncio.ensure_future(fresh(scene, "GET")) for _ in range(2)]
    await asyncio.sleep(0.5)
    assert not any(each.done() for each in waiting)
    assert scene.one.served == scene.two.served == ["get"]
    for each in waiting:
        each.cancel()


async def test_a_slow_or_odd_request_is_passed_on_as_it_comes(scene: Scene) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, scene.port)
    writer.write(b"POST /thing HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    await asyncio.sleep(1.2)
    writer.write(b"cd")
    assert (await reader.readuntil(b"abcd")).endswith(b"abcd")
    writer.close()


async def test_an_answer_without_a_body_does_not_hold_up_the_next(scene: Scene) -> None:
    assert (await scene.http.head("/thing")).status_code == 200
    assert (await scene.http.get("/thing")).status_code == 200
    assert len(scene.one.served + scene.two.served) == 2


async def test_a_request_waits_a_moment_where_no_gateway_takes_it(scene: Scene) -> None:
    scene.one.dies = scene.two.dies = True
    waiting = asyncio.ensure_future(fresh(scene, "GET"))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    scene.one.dies = False
    assert (await waiting).text == "one "


async def test_a_silent_gateway_is_not_left_for_nobody(scene: Scene) -> None:
    scene.one.status = 503
    await asyncio.sleep(0.5)
    scene.two.silent = True
    waiting = asyncio.ensure_future(fresh(scene, "GET"))
    await asyncio.sleep(SILENT_S + 0.5)
    assert not waiting.done()
    assert scene.two.served == ["get"], "it was sent to another, or twice"
    waiting.cancel()


async def test_a_gateway_is_told_once_whose_each_connection_is() -> None:
    heard: list[bytes] = []

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heard.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await asyncio.start_server(gateway, LOOPBACK, 0)
    backends = Backends([f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"])
    backends.all[0].ready = True
    calls = Tasks()
    proxy = Proxy(backends, calls, announces=True)
    front = await asyncio.start_server(proxy.connected, LOOPBACK, 0)
    url = f"http://{LOOPBACK}:{front.sockets[0].getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=url) as http:
        for _ in range(2):
            assert (await http.get("/thing")).text == "ok"
    first, second = heard
    line, _, rest = first.partition(b"\r\n")
    assert re.fullmatch(rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d{2,5} 0", line)
    assert rest.startswith(b"GET /thing")
    assert second.startswith(b"GET /thing"), "the line stands once, before everything else"
    await calls.drain(1)
    for each in (server, front):
        each.close()


async def test_a_question_that_ends_oddly_or_never_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    async def odd(port: int, path: str) -> int:
        asked.append(port)
        if len(asked) == 1:
            raise asyncio.CancelledError
        while len(asked) == 2:
            with contextlib.suppress(asyncio.CancelledError):  # as some drivers lose it
                await asyncio.sleep(0.05)
        return 200

    monkeypatch.setattr(probes, "http_status", odd)
    monkeypatch.setattr(backends, "ANSWER_S", 0.05)
    only = Backends([f"{LOOPBACK}:1"])
    watching = asyncio.get_running_loop().create_task(only.watch())
    async with asyncio.timeout(5):
        while not only.all[0].ready:  # noqa: ASYNC110 - it has no event for a test
            await asyncio.sleep(0.01)
    await end([watching])
    assert len(asked) >= 3

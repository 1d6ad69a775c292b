"""`mercato health`, as a container's health check calls it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from mercato.cli.health import served_by
from mercato.embedded.errors import PlatformError
from mercato.embedded.part import serve
from tests import command

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def service() -> AsyncIterator[tuple[int, health_aio.HealthServicer]]:
    server, health = grpc.aio.server(), health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port, health
    await server.stop(0)


async def test_a_service_that_serves_is_healthy(
    service: tuple[int, health_aio.HealthServicer], tmp_path: Path
) -> None:
    port, health = service
    await health.set("", SERVING)
    assert await asked("order", port, tmp_path) == 0


async def test_a_service_that_drains_is_not_healthy(
    service: tuple[int, health_aio.HealthServicer], tmp_path: Path
) -> None:
    port, health = service
    await health.set("", NOT_SERVING)
    assert await asked("order", port, tmp_path) == 1


@pytest.mark.parametrize(("status", "code"), [("200 OK", 0), ("503 Service Unavailable", 1)])
async def test_a_gateway_is_as_healthy_as_its_readyz(
    status: str, code: int, tmp_path: Path
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"GET /readyz ")
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await asked("gateway", port, tmp_path) == code


async def test_a_port_where_nobody_listens_is_not_healthy(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert await asked("gateway", port, tmp_path) == 1
    assert await asked("order", port, tmp_path) == 1


@pytest.mark.parametrize(
    "words",
    [("/opt/mercato/bin/python", "/opt/mercato/bin/mercato", "serve", "order"),
     ("/sbin/docker-init", "--", "mercato", "serve", "order"), serve("order")],
)  # fmt: skip
def test_a_container_knows_which_service_it_runs(words: Sequence[str], tmp_path: Path) -> None:
    assert served_by(command_line(tmp_path, words)) == "order"


@pytest.mark.parametrize("words", [("/sbin/init",), ("mercato", "up"), ("x", "serve", "rumour")])
def test_elsewhere_the_service_has_to_be_named(words: Sequence[str], tmp_path: Path) -> None:
    with pytest.raises(PlatformError):
        served_by(command_line(tmp_path, words))


def command_line(folder: Path, words: Sequence[str]) -> Path:
    """Writes `words` as /proc shows a process's command line."""
    path = folder / "cmdline"
    path.write_text("".join(f"{word}\0" for word in words))
    return path


async def asked(name: str, port: int, folder: Path) -> int:
    """Runs the command as a container does, with PORT in its environment; returns its exit code."""
    environment = {"PORT": str(port), "MERCATO_DATA_DIR": str(folder)}
    done = await asyncio.to_thread(command.mercato, "health", name, environment=environment)
    return done.returncode

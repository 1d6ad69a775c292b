"""The audit's own door: alive, ready unless the last audit failed, and its metrics."""

import asyncio

import httpx2
import pytest

from mercato.audit import metrics, probes


@pytest.mark.parametrize(
    ("method", "path", "trouble", "status"),
    [
        ("GET", "/livez", "", 200),
        ("GET", "/livez", "mongod is away", 200),
        ("GET", "/readyz", "", 200),
        ("GET", "/readyz?verbose", "mongod is away", 503),
        ("HEAD", "/readyz", "", 200),
        ("GET", "/metrics", "mongod is away", 200),
        ("GET", "/", "", 404),
        ("POST", "/metrics", "", 405),
    ],
)
async def test_each_path_has_its_answer(method: str, path: str, trouble: str, status: int) -> None:
    async with (
        probes.listen("127.0.0.1", 0, lambda: trouble) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        answer = await http.request(method, path)
    assert answer.status_code == status
    if status == 503:
        assert answer.text == "mongod is away\n"
    if path == "/metrics" and status == 200:
        (family,) = metrics.AGE.collect()
        assert f"# TYPE {family.name} gauge" in answer.text


@pytest.mark.parametrize("sent", [b"", b"GET", b"x" * 100_000, b"\r\n\r\n", b"\xff \xff\r\n\r\n"])
async def test_nonsense_costs_a_connection_and_no_more(sent: bytes) -> None:
    async with probes.listen("127.0.0.1", 0, str) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        assert b" 200 " not in await reader.read()
        writer.close()
        async with httpx2.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/livez")).text == "ok\n"

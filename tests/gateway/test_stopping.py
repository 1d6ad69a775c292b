"""A gateway that is told to stop finishes what it began, and asks those who stay to go."""

import asyncio
from typing import Any

import httpx2

from mercato.gateway.server import bound, serve
from mercato.platform.tasks import end

SLOW_S = 1.5  # longer than a task is given before it is cancelled once more


async def app(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(SLOW_S if scope["path"] == "/slow" else 0)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_requests_that_were_begun_are_answered_and_later_ones_told_to_close() -> None:
    listening = bound("127.0.0.1", 0)
    said: list[str] = []
    task = asyncio.get_running_loop().create_task(
        serve(app, listening, lambda: said.append("stopping"), notice_s=0.7)
    )
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=url) as http:
        assert "connection" not in (await http.get("/")).headers
        slow = asyncio.ensure_future(http.get("/slow"))
        await asyncio.sleep(0.3)
        stopping = asyncio.ensure_future(end([task]))
        await asyncio.sleep(0.3)
        assert said == ["stopping"]
        assert (await http.get("/")).headers["connection"] == "close"
        assert (await slow).text == "ok"
        await stopping

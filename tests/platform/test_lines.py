"""The log's lines on their way out: in order, together, and without secrets."""

import asyncio
import io
import json
import re

from mercato.kernel.identity import new_id
from mercato.platform import telemetry
from mercato.platform.lines import Lines, timestamp
from mercato.platform.telemetry import AccessLog


class File(io.StringIO):
    """A file that counts its writes."""

    writes = 0

    def write(self, text: str, /) -> int:
        self.writes += 1
        return super().write(text)


async def test_requests_of_one_turn_are_one_write() -> None:
    file = File()
    log = AccessLog(Lines(file), "gateway")
    telemetry.begin({})
    for status in range(200, 210):
        log.told("GET", "/", status, 0.1, None)
    assert file.writes == 0
    await asyncio.sleep(0)
    assert [json.loads(line)["status"] for line in file.getvalue().splitlines()] == [
        *range(200, 210)
    ]
    assert file.writes == 1


async def test_any_other_line_takes_along_what_waits_and_so_does_the_end() -> None:
    file = File()
    lines = Lines(file)
    log = AccessLog(lines, "gateway")
    log.told("GET", "/", 200, 0.1, None)
    lines.msg('{"event":"second"}')
    told = [json.loads(line)["event"] for line in file.getvalue().splitlines()]
    assert told == ["request", "second"]
    log.told("GET", "/", 200, 0.1, None)
    lines.flush()
    await asyncio.sleep(0)
    assert len(file.getvalue().splitlines()) == 3


async def test_a_requests_line_says_who_what_and_when() -> None:
    file, user_id = File(), new_id()
    trace = telemetry.begin({})
    AccessLog(Lines(file), "gateway").told("PUT", "/api/orders/{id}", 409, 1.25, user_id)
    await asyncio.sleep(0)
    line = json.loads(file.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "method": "PUT", "route": "/api/orders/{id}", "status": 409, "ms": 1.25, "user_id": user_id,
        "event": "request", "service": "gateway", "request_id": trace.request_id,
        "trace_id": trace.traceparent[3:35], "level": "info",
    }  # fmt: skip


async def test_what_a_client_calls_its_request_shows_no_secret() -> None:
    file = File()
    telemetry.begin({"x-request-id": "password=canary-4711"})
    AccessLog(Lines(file), "gateway").told("GET", "/", 200, 0.1, "token=canary-4712")
    await asyncio.sleep(0)
    assert "canary" not in file.getvalue()
    assert "***" in file.getvalue()


def test_the_time_of_day_grows() -> None:
    times = [timestamp() for _ in range(1000)]
    assert times == sorted(times)

"""G25: whatever is sent, over REST or gRPC, is answered or refused, and finds no fault."""

import asyncio
import json
import re
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mercato.embedded import state
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import Role, new_id
from tests.minting import minting
from tests.proof.figures import Figures, sized
from tests.security.test_methods import ALL, Method
from tests.story.fuzz import fuzz
from tests.story.shop import Shop

SEED = 25
REFUSED_S_MAX = 0.2
GROWTH_BYTES_MAX = 50 * 1024 * 1024
HTTP_CASES, GRPC_CASES = 30_000, 20_000
AT_ONCE = 16
TEXTS = (
    "", "a", "\x00", "\u202e", "é" * 300, "x" * 5_000, "$where", "../..", "0" * 24, "-1", "1e999",
    "ada@example.com", "2026-11-22T12:00:00Z", "\N{GRINNING FACE}", "EUR", "PENDING", "admin",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 100, 101, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
pytestmark = pytest.mark.timeout(3 * 3600)


@pytest.mark.parametrize("who", ["admin", "customer"])
async def test_no_request_finds_a_fault(
    shop: Shop, tmp_path: Path, figures: Figures, who: Role
) -> None:
    somebody, done, run = await shop.register("fuzz"), 0, 0
    tokens, wanted = minting(shop.platform), sized(HTTP_CASES // 2, least=500)
    document = (await shop.http.get("/openapi.json")).json()
    operations = sum(len(methods) for methods in document["paths"].values())
    while done < wanted:  # an access token is good for 15 minutes
        token = tokens.access(somebody.id, who)
        each = max(20, min(400, (wanted - done) // operations))
        home = tmp_path / str(run)
        home.mkdir()
        sound, report = await fuzz(
            shop.url, token, home, examples_max=each, seconds_max=240, seed=SEED + run
        )
        assert sound, report[-8000:]
        cases = re.search(r"(\d+) generated", report)
        assert cases, report[-2000:]
        done, run = done + int(cases[1]), run + 1
    figures.tell("G25", **{f"rest_cases_as_{who}": done, f"faults_as_{who}": 0})


def filled(kind: Any, dice: Random, depth: int = 0) -> Message:
    """Returns a message of generated values: some right, most at an edge or beyond it."""
    message: Any = GetMessageClass(kind)()
    for field in kind.fields:
        if dice.random() < 0.3 or depth > 3:
            continue
        if field.is_repeated:
            if field.message_type and field.message_type.GetOptions().map_entry:
                getattr(message, field.name)[dice.choice(TEXTS)] = dice.choice(TEXTS)
                continue
            values = [value(field, dice, depth) for _ in range(dice.choice((0, 1, 2, 50)))]
            getattr(message, field.name).extend(values)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value(field, dice, depth))
        else:
            setattr(message, field.name, value(field, dice, depth))
    return message  # type: ignore[no-any-return]


def value(field: FieldDescriptor, dice: Random, depth: int) -> Any:
    if field.message_type:
        return filled(field.message_type, dice, depth + 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return dice.randbytes(dice.choice((0, 1, 32, 4096)))
        return new_id() if dice.random() < 0.3 else dice.choice(TEXTS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return dice.random() < 0.5
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return dice.choice((0.0, -1.5, float("inf"), float("nan")))
    number = dice.choice(NUMBERS)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        number = abs(number)
    bits = 32 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, 3) else 63
    return max(-(2 ** (bits - 1)), min(number, 2 ** (bits - 1) - 1))


async def test_no_message_finds_a_fault(platform: Platform, figures: Figures) -> None:
    tokens, dice = minting(platform), Random(SEED)
    bearers = [tokens.access(new_id(), "admin"), tokens.access(new_id(), "customer")]
    bearers += [tokens.service(name) for name in ("gateway", "order", "user", "cli")]
    services = ("user", "inventory", "order", "mailer")
    channels = {
        name: grpc.aio.insecure_channel(platform.environment[f"{name.upper()}_SERVICE"])
        for name in services
    }
    faults: list[str] = []
    codes: Counter[str] = Counter()
    wanted = sized(GRPC_CASES, least=500)

    async def ask(method: Method) -> None:
        call: Any = channels[method.name.partition(".")[0]].unary_unary(
            f"/{method.name}", request_serializer=lambda message: message.SerializeToString()
        )
        request = filled(method.descriptor.input_type, dice)
        metadata = (("authorization", f"Bearer {dice.choice(bearers)}"),)
        code = grpc.StatusCode.OK
        try:
            await call(request, timeout=20, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            code = failure.code()
            if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                faults.append(f"{method}: {failure.details()} on {request!r:.500}")
        codes[code.name] += 1

    for _ in range(0, wanted, AT_ONCE):
        await asyncio.gather(*(ask(dice.choice(ALL)) for _ in range(AT_ONCE)))
    for channel in channels.values():
        await channel.close()
    figures.tell("G25", grpc_cases=sum(codes.values()), grpc_codes=json.dumps(codes))
    figures.tell("G25", grpc_faults=len(faults))
    assert faults == []
    assert codes["INVALID_ARGUMENT"] > wanted // 20
    assert codes["OK"] > 0


async def test_what_is_too_large_too_deep_or_too_slow_is_refused(
    shop: Shop, figures: Figures
) -> None:
    part = state.running(shop.platform.data_dir).parts["gateway"]
    assert part.process
    gateway = psutil.Process(part.process.pid)
    before = gateway.memory_info().rss
    deep = "[" * 10_000 + "]" * 10_000
    slowest = 0.0
    for content, statuses in (("x" * 10_000_000, {413}), (deep, {400}), ('{"a":' * 10_000, {400})):
        for _ in range(10):
            began = time.monotonic()
            headers = shop.admin | {"Content-Type": "application/json"}
            answer = await shop.http.post("/api/inventory", content=content, headers=headers)
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status_code in statuses, answer.text
    host, port = shop.url.removeprefix("http://").split(":")
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
    for _, writer in slow:
        writer.write(b"POST /api/orders HTTP/1.1\r\nHost: shop\r\nX-Slow: ")
    began = time.monotonic()
    assert (await shop.http.get("/livez")).status_code == 200
    beside = time.monotonic() - began
    closed = await asyncio.gather(*(asyncio.wait_for(reader.read(), 20) for reader, _ in slow))
    for _, writer in slow:
        writer.close()
        await writer.wait_closed()
    grown = gateway.memory_info().rss - before
    figures.tell(
        "G25", slowest_refusal_ms=round(slowest * 1000), slow_connections_closed=len(closed),
        livez_beside_them_ms=round(beside * 1000), gateway_grew_mib=round(grown / 2**20, 1),
    )  # fmt: skip
    assert slowest <= REFUSED_S_MAX
    assert grown <= GROWTH_BYTES_MAX

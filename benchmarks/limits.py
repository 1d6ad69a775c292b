"""The limits beside the figures: what each part can do alone, on this machine, in this run."""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import grpc
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from redis.asyncio import Redis

from benchmarks.clients import LoadError
from benchmarks.figures import median
from benchmarks.jobs import Job
from benchmarks.measuring import Bench, Measured
from benchmarks.running import ROOT
from benchmarks.servers import METHOD
from mercato.embedded.ports import LOOPBACK

AT_ONCE: Final = 64
GROUP: Final = 64
MESSAGE: Final = b"x" * 200
STARTED_S_MAX: Final = 20.0
_WRITE: Final = WriteConcern(w="majority", j=True)

Once = Callable[[], Awaitable[int]]  # does something, and returns how many of it

TITLES: Final = {
    "http": "uvicorn with an empty application",
    "grpc": "gRPC echo of 200 bytes, from Python to Python",
    "valkey": "Valkey GET, from Python",
    "mongo batch": "mongod, documents inserted 64 at once, journalled",
    "mongo commit": "mongod, transactions of one document, journalled",
}


async def measure(on: Bench) -> None:
    """Measures every limit; each is a closed loop of 64."""
    environment = on.shop.platform.environment
    async with _server("http") as port:
        job = Job("empty", port, await on.shop.stage(), AT_ONCE, _seconds(on))
        rates = []
        for _ in range(on.plan.runs):
            outcome, taken = await on.clients.run(job)
            rates.append(taken.total / outcome.elapsed_s)
        _keep(on, "http", rates)
    async with _server("grpc") as port, grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        echo: Any = channel.unary_unary(METHOD)
        await _measured(on, "grpc", lambda: _count(echo(MESSAGE)))
    host, _, redis_port = environment["REDIS_ADDR"].rpartition(":")
    password = environment.get("REDIS_PASSWORD") or None
    async with Redis(host=host, port=int(redis_port), password=password) as redis:
        await redis.set("limits", MESSAGE, ex=600)
        await _measured(on, "valkey", lambda: _count(redis.get("limits")))
    async with AsyncMongoClient[dict[str, Any]](environment["MONGO_URI"]) as mongo:
        try:
            await _measured(on, "mongo batch", partial(_batch, mongo), at_once=1)
            await _measured(on, "mongo commit", partial(_commit, mongo))
        finally:
            await mongo.drop_database("limits")


async def _measured(on: Bench, name: str, once: Once, at_once: int = AT_ONCE) -> None:
    await once()
    _keep(on, name, [await rate_of(once, at_once, _seconds(on)) for _ in range(on.plan.runs)])


def _keep(on: Bench, name: str, rates: list[float]) -> None:
    on.plan.tell(f"limit: {TITLES[name]}: {median(rates):,.0f}/s")
    runs = [round(rate, 1) for rate in rates]
    on.found.keep(
        Measured(
            name=f"limit {name}", title=TITLES[name], unit="/s", value=median(rates), runs=runs
        )
    )  # fmt: skip


def _seconds(on: Bench) -> float:
    return max(on.plan.seconds / 3, 1.0)


async def rate_of(once: Once, at_once: int, seconds: float) -> float:
    """Returns how many a second `once` does in a closed loop of `at_once`."""
    done, began = 0, time.perf_counter()

    async def again() -> None:
        nonlocal done
        while time.perf_counter() < began + seconds:
            count = await once()  # before `done` is read: others add to it meanwhile
            done += count

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(again())
    except ExceptionGroup as failures:
        raise LoadError(repr(failures.exceptions[0])) from failures
    return done / (time.perf_counter() - began)


async def _count(call: Awaitable[object]) -> int:
    await call
    return 1


async def _batch(mongo: "AsyncMongoClient[dict[str, Any]]") -> int:
    limits = mongo.get_database("limits", write_concern=_WRITE)
    await limits["batch"].insert_many([_document() for _ in range(GROUP)], ordered=False)
    return GROUP


async def _commit(mongo: "AsyncMongoClient[dict[str, Any]]") -> int:
    async def body(session: AsyncClientSession) -> None:
        await mongo["limits"]["commit"].insert_one(_document(), session=session)

    async with mongo.start_session() as session:
        await session.with_transaction(
            body, read_concern=ReadConcern("snapshot"), write_concern=_WRITE
        )
    return 1


def _document() -> dict[str, Any]:
    """Something of an order's size."""
    item = {"product_id": ObjectId(), "name": "Thing 4711", "quantity": 1, "unit_price": 1999}
    history = [{"at": "2026-01-01T00:00:00Z", "by": "x" * 24, "action": "placed", "detail": ""}]
    return {
        "_id": ObjectId(), "user_id": ObjectId(), "items": [item], "total": 1999,
        "currency": "EUR", "status": "PENDING", "stock": "AWAITING", "version": 1,
        "fingerprint": "f" * 64, "history": history,
    }  # fmt: skip


@asynccontextmanager
async def _server(kind: str) -> AsyncIterator[int]:
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.servers", kind, str(port), cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    try:
        await _listening(port)
        yield port
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def _listening(port: int) -> None:
    until = time.monotonic() + STARTED_S_MAX
    while time.monotonic() < until:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise LoadError("a server that does nothing did not start")


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as found:
        return int(found.getsockname()[1])

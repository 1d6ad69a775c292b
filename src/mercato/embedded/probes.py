"""Asks a server or service whether it would do real work now: the answer is yes or not yet."""

import asyncio

from mercato.embedded.ports import LOOPBACK

REPLICA_SET = "rs0"
NOT_YET_INITIALIZED = 94
SERVING = b"\x08\x01"  # HealthCheckResponse{1 status: SERVING} on the wire
ANSWER_TIMEOUT_S = 1.0


async def writable_primary(port: int) -> bool:
    """Whether mongod takes writes; a new replica set is initiated, a moved one reconfigured."""
    if not await _listens(port):  # the driver would sleep half a second over a refused connection
        return False
    from pymongo import AsyncMongoClient
    from pymongo.errors import OperationFailure, PyMongoError

    async with AsyncMongoClient[dict[str, object]](
        LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=1_000
    ) as client:
        me = {"_id": 0, "host": f"{LOOPBACK}:{port}"}
        try:
            if (await client.admin.command("hello"))["isWritablePrimary"]:
                return True
            config = (await client.admin.command("replSetGetConfig"))["config"]
            if config["members"][0]["host"] != me["host"]:
                moved = {**config, "version": config["version"] + 1, "members": [me]}
                await client.admin.command("replSetReconfig", moved, force=True)
        except OperationFailure as refusal:
            if refusal.code == NOT_YET_INITIALIZED:
                fresh = {"_id": REPLICA_SET, "members": [me]}
                await client.admin.command("replSetInitiate", fresh)
        except PyMongoError:
            pass
        return False


async def pong(port: int) -> bool:
    """Whether Valkey answers PING."""
    return (await _exchange(port, b"PING\r\n")).startswith(b"+PONG")


async def jetstream(port: int) -> bool:
    """Whether nats-server answers for its JetStream account (by hand: INFO, MSG, its payload)."""
    request = b'CONNECT {"verbose":false}\r\nSUB probe 1\r\nPUB $JS.API.INFO probe 0\r\n\r\n'
    reply = await _exchange(port, request, lines=3)
    return b"account_info_response" in reply and b'"error"' not in reply


async def http_ok(port: int, path: str) -> bool:
    """Whether GET `path` is answered 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n"
    return b" 200 " in (await _exchange(port, request.encode())).partition(b"\r\n")[0]


async def serving(port: int) -> bool:
    """Whether grpc.health.v1 says SERVING for the whole server."""
    if not await _listens(port):  # a channel that was refused waits a second before it dials again
        return False
    import grpc.aio

    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        try:
            check = channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
            return await check(b"", timeout=ANSWER_TIMEOUT_S) == SERVING
        except grpc.RpcError:
            return False


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def _exchange(port: int, request: bytes, lines: int = 1) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return b""
    try:
        writer.write(request)
        return b"".join([await reader.readline() for _ in range(lines)])
    except OSError:
        return b""
    finally:
        writer.close()

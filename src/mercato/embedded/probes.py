"""Asks a server or service whether it would do real work now: the answer is yes or not yet."""

import asyncio
import json
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mercato.embedded.ports import LOOPBACK

if TYPE_CHECKING:  # heavy, and not needed by those who only ask for one word
    from mercato.embedded.secure.accounts import Accounts, Client
    from mercato.platform.rpc import Identity

REPLICA_SET = "rs0"
NOT_YET_INITIALIZED = 94
# With mongod's own 10 s each, a frozen primary would be missed for 10 s, and its successor would
# wait another 10 s for its word before it takes writes.
ELECTIONS = {
    "electionTimeoutMillis": 2_500,
    "heartbeatIntervalMillis": 500,
    "heartbeatTimeoutSecs": 2,
    "catchUpTimeoutMillis": 2_000,
}
SERVING = b"\x08\x01"  # HealthCheckResponse{1 status: SERVING} on the wire
ANSWER_TIMEOUT_S = 1.0


async def replica(port: int, members: Sequence[int], accounts: "Accounts | None" = None) -> bool:
    """Whether mongod does its part in the replica set of all `members` (their ports).

    One that is alone is the primary; of several, a secondary does that knows its primary. The first
    one initiates a new set, and reconfigures one that has moved. With `accounts` mongod asks who
    one is: the users are made before it counts as ready.
    """
    if not await _listens(port):  # the driver would sleep half a second over a refused connection
        return False
    from pymongo.errors import OperationFailure, PyMongoError

    from mercato.embedded.secure.accounts import AUTHENTICATION_FAILED, forget

    with suppress(PyMongoError):  # not yet
        async with _mongod(port, **(accounts.login() if accounts else {})) as client:
            try:
                hello = await client.admin.command("hello")
            except OperationFailure as refusal:
                if accounts is None or refusal.code != AUTHENTICATION_FAILED:
                    raise
                await _begin(port, members, accounts)
                return False
            if hello["isWritablePrimary"]:
                await (accounts.ensure(client) if accounts else forget(client))
                return True
            if port == members[0]:
                await _configure(client, replica_set(members))
            return len(members) > 1 and hello.get("secondary", False) and "primary" in hello
    return False


def _mongod(port: int, **login: Any) -> "Client":
    from pymongo import AsyncMongoClient

    return AsyncMongoClient(
        LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=1_000, **login
    )


async def _configure(client: "Client", wanted: dict[str, Any]) -> None:
    from pymongo.errors import OperationFailure

    try:
        config = (await client.admin.command("replSetGetConfig"))["config"]
        if _hosts(config) != _hosts(wanted):
            moved = {**config, **wanted, "version": config["version"] + 1}
            await client.admin.command("replSetReconfig", moved, force=True)
    except OperationFailure as refusal:
        if refusal.code == NOT_YET_INITIALIZED:
            await client.admin.command("replSetInitiate", wanted)


async def _begin(port: int, members: Sequence[int], accounts: "Accounts") -> None:
    """Initiates a set that has no users yet, and makes the first: mongod lets its machine do so."""
    async with _mongod(port) as client:
        if (await client.admin.command("hello"))["isWritablePrimary"]:
            await accounts.begin(client)
        elif port == members[0]:
            await client.admin.command("replSetInitiate", replica_set(members))


def replica_set(members: Sequence[int]) -> dict[str, Any]:
    """The configuration of a set; several members hold an election 2.5 s after they miss one."""
    hosts = [{"_id": i, "host": f"{LOOPBACK}:{port}"} for i, port in enumerate(members)]
    config: dict[str, Any] = {"_id": REPLICA_SET, "members": hosts}
    if len(members) > 1:
        config["settings"] = ELECTIONS
    return config


def _hosts(config: dict[str, Any]) -> list[str]:
    return [member["host"] for member in config["members"]]


async def pong(port: int, password: str = "") -> bool:
    """Whether Valkey answers PING."""
    if not password:
        return (await _exchange(port, b"PING\r\n")).startswith(b"+PONG")
    return b"+PONG" in await _exchange(port, f"AUTH {password}\r\nPING\r\n".encode(), lines=2)


async def jetstream(port: int, login: tuple[str, str] | None = None) -> bool:
    """Whether nats-server answers for its JetStream account (by hand: INFO, MSG, its payload)."""
    options: dict[str, object] = {"verbose": False}
    if login:
        options |= zip(("user", "pass"), login, strict=True)
    request = f"CONNECT {json.dumps(options)}\r\nSUB probe 1\r\nPUB $JS.API.INFO probe 0\r\n\r\n"
    reply = await _exchange(port, request.encode(), lines=3)
    return b"account_info_response" in reply and b'"error"' not in reply


async def http_ok(port: int, path: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether GET `path` is answered 200; by HTTPS with `tls`."""
    return await http_status(port, path, tls) == 200


async def http_status(port: int, path: str, tls: ssl.SSLContext | None = None) -> int:
    """The status that GET `path` is answered with; 0 when it is not answered."""
    request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n"
    words = (await _exchange(port, request.encode(), tls=tls)).split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


async def serving(port: int, name: str = "", identity: "Identity | None" = None) -> bool:
    """Whether grpc.health.v1 says SERVING for the whole server; by mutual TLS, to `name` alone."""
    if not await _listens(port):  # a channel that was refused waits a second before it dials again
        return False
    import grpc.aio

    address = f"{LOOPBACK}:{port}"
    if identity:
        options = (("grpc.ssl_target_name_override", name),)
        opened = grpc.aio.secure_channel(address, identity.for_client(), options=options)
    else:
        opened = grpc.aio.insecure_channel(address)
    async with opened as channel:
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


async def _exchange(
    port: int, request: bytes, lines: int = 1, tls: ssl.SSLContext | None = None
) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=tls)
    except OSError:
        return b""
    try:
        writer.write(request)
        return b"".join([await reader.readline() for _ in range(lines)])
    except OSError:
        return b""
    finally:
        writer.close()

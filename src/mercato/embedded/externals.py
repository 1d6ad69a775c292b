"""Asks the servers that the environment names whether they would serve, before anything starts."""

import asyncio
import os
import re
from collections.abc import Awaitable
from urllib.parse import urlsplit

from mercato.embedded.errors import PlatformError
from mercato.embedded.settings import Given

TIMEOUT_S = 5.0
DRIVER_TIMEOUT_S = 4.0  # less, so that a driver can say why
MONGO_PORT = 27017
SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}


async def insist(given: Given) -> None:
    """Raises PlatformError naming every server that is given and does not serve."""
    asked: list[tuple[str, str, Awaitable[str]]] = []  # variable, address, what is wrong
    if given.mongo_uri:
        asked.append(
            (
                "MONGO_URI",
                _hosts(given.mongo_uri),
                _in_time(_mongo(given.mongo_uri)),
            )
        )
    if given.redis_addr:
        asked.append(("REDIS_ADDR", given.redis_addr, _in_time(_redis(given))))
    if given.nats_url:
        urls = [url.strip() for url in given.nats_url.split(",")]
        asked.append(("NATS_URL", ",".join(_hosts(url) for url in urls), _nats(urls)))
    if given.smtp_host:
        host, port = given.smtp_host, _smtp_port(given)
        asked.append(("SMTP_HOST", f"{host}:{port}", _in_time(_tcp(host, port))))
    reasons = await asyncio.gather(*(answer for _, _, answer in asked))
    wrong = [
        f"\n  {variable} ({address}): {reason}"
        for (variable, address, _), reason in zip(asked, reasons, strict=True)
        if reason
    ]
    if wrong:
        raise PlatformError(
            f"what the environment names does not serve:{''.join(wrong)}",
            "mend it, or unset the variable to have a server started here",
        )


def _hosts(url: str) -> str:
    """Returns where a URL leads, without the password in it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _smtp_port(given: Given) -> int:
    """The port that the mailer would use."""
    tls = given.smtp_tls.lower() or ("starttls" if given.smtp_username else "none")
    return int(given.smtp_port or 0) or SMTP_PORTS.get(tls, SMTP_PORTS["none"])


async def _in_time(answer: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await answer
    except TimeoutError:
        return f"no answer in {TIMEOUT_S:g} s"
    except OSError as failure:
        return _plain(failure)


def _plain(failure: Exception) -> str:
    """Says it shortly: what the system calls it, else the driver's own first words."""
    text = str(failure)
    if number := re.search(r"\b(?:Errno|Error) ([0-9]+)", text):
        return os.strerror(int(number[1])).lower()
    text = getattr(failure, "strerror", None) or text.removeprefix("nats: ")
    return text.partition(" (configured")[0].partition(", Timeout:")[0]


async def _mongo(uri: str) -> str:
    hosts = _hosts(uri).split(",")
    if uri.startswith("mongodb://") and "%" not in _hosts(uri):  # neither by DNS nor by a file
        # the driver would go on dialling where nobody listens
        refused = await asyncio.gather(*map(_dialled, hosts))
        if all(refused):
            return refused[0]
    return await asyncio.to_thread(_mongo_speaks, uri)


async def _dialled(address: str) -> str:
    """Returns why nobody can be called there, empty if somebody can."""
    host = urlsplit(f"//{address}")
    return await _in_time(_tcp(host.hostname or "", host.port or MONGO_PORT))


def _mongo_speaks(uri: str) -> str:
    """Blocks: the driver's asynchronous half forgets sockets on which nobody answered."""
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure, PyMongoError

    ms = int(DRIVER_TIMEOUT_S * 1000)
    try:
        with MongoClient[dict[str, object]](
            uri, serverSelectionTimeoutMS=ms, connectTimeoutMS=ms, socketTimeoutMS=ms
        ) as client:
            hello = client.admin.command("hello")
    except OperationFailure as refusal:
        return str((refusal.details or {}).get("errmsg") or "it refuses us")
    except PyMongoError as failure:
        return _plain(failure)
    if not hello.get("isWritablePrimary"):
        return "it is no primary that can be written to"
    if not ("setName" in hello or hello.get("msg") == "isdbgrid"):
        return "it is no replica set, so it has no transactions"
    return ""


async def _redis(given: Given) -> str:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError

    host, _, port = given.redis_addr.rpartition(":")
    redis = Redis(
        host=host or "127.0.0.1", port=int(port), db=given.redis_db, protocol=2,
        password=given.redis_password or None, socket_connect_timeout=DRIVER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
    try:
        await redis.ping()
    except RedisError as failure:
        return _plain(failure)
    finally:
        await redis.aclose()
    return ""


async def _nats(urls: list[str]) -> str:
    """One that answers is enough: it knows the others."""
    reasons = await asyncio.gather(*(_in_time(_one_nats(url)) for url in urls))
    return "" if "" in reasons else reasons[0]


async def _one_nats(url: str) -> str:
    from nats.aio.client import Client
    from nats.errors import Error

    async def give_up(failure: Exception) -> None:
        """Else the client would go on trying, and not say why."""
        raise failure

    client = Client()
    timeout_s = max(1, int(DRIVER_TIMEOUT_S))
    try:
        await client.connect(
            url, allow_reconnect=False, connect_timeout=timeout_s, error_cb=give_up
        )
    except Error as failure:
        return _plain(failure)
    finally:
        await client.close()
    return ""


async def _tcp(host: str, port: int) -> str:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return ""

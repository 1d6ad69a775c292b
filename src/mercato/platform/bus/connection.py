"""The connection to NATS, the stream, and publishing with many messages in flight."""

import asyncio
import contextlib
import itertools
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError

from mercato import events
from mercato.platform.tasks import Tasks

PUBLISH_TIMEOUT_S: Final = 2.0
RECONNECT_WAIT_S: Final = 0.5
DUPLICATE_WINDOW_S: Final = 120.0
REPLICAS: Final = 3
STREAM_AGE_S_MAX: Final = 7 * 86400.0
_STREAM_IS_ANOTHER: Final = 10058  # JSStreamNameExistErr

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Letter:
    """A fact on its way: where to, what, and the headers with its message id."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class _Ack(Enum):
    STORED = "the stream has it"
    NO_STREAM = "there is no such stream"
    NONE = "it is refused, or nothing is known of it"


class Bus:
    """A connection to NATS that is never given up."""

    def __init__(self, client: Client, servers: int = 1) -> None:
        self.client = client
        # a stream survives the loss of a server when a majority of its replicas is left
        self._replicas = REPLICAS if servers >= REPLICAS else 1
        self.stream = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self._tasks = Tasks()
        self._numbers = itertools.count()
        self._acks: dict[str, asyncio.Future[_Ack]] = {}
        self._inbox = ""
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, name: str) -> AsyncIterator["Bus"]:
        """Opens a connection to `url` (commas between several); returns also while NATS is away."""
        bus = cls(Client(), url.count(",") + 1)
        bus._tasks.start(bus._connect(url, name))
        try:
            yield bus
        finally:
            bus._closing = True
            await bus._tasks.drain(0)
            with contextlib.suppress(NatsError, TimeoutError, OSError):
                await asyncio.wait_for(bus.client.close(), 2)

    @property
    def connected(self) -> bool:
        return self.client.is_connected

    async def until_connected(self) -> None:
        while not self.client.is_connected:  # noqa: ASYNC110 - the client offers no event for it
            await asyncio.sleep(0.05)

    async def send(self, letters: Sequence[Letter]) -> bool:
        """Publishes without asking whether the stream has it; returns whether NATS was there."""
        if not self.client.is_connected:
            return False
        try:
            for letter in letters:
                await self.client.publish(letter.subject, letter.payload, headers=letter.headers)
        except (NatsError, TimeoutError, OSError) as failure:
            log.warning("facts cannot be published", failure=type(failure).__name__)
            return False
        return True

    async def publish(self, letters: Sequence[Letter]) -> list[bool]:
        """Publishes all at once; returns for each whether the stream said that it has it.

        No answer is not a no: the message may be there, or arrive later. Publish it again under
        the same message id.
        """
        if not self.client.is_connected or not letters:
            return [False] * len(letters)
        loop = asyncio.get_running_loop()
        waiting = {str(next(self._numbers)): loop.create_future() for _ in letters}
        self._acks |= waiting
        try:
            await self._send(letters, waiting)
            await asyncio.wait(waiting.values(), timeout=PUBLISH_TIMEOUT_S)
        except (NatsError, TimeoutError, OSError) as failure:
            log.warning("facts cannot be published", failure=type(failure).__name__)
        finally:
            for number in waiting:
                del self._acks[number]
        acks = [future.result() if future.done() else _Ack.NONE for future in waiting.values()]
        if _Ack.NO_STREAM in acks:
            await self.ensure_stream()
        return [ack is _Ack.STORED for ack in acks]

    async def ensure_stream(self) -> bool:
        """Makes the stream when it is not there; returns whether it is there now."""
        config = StreamConfig(
            name=events.STREAM, subjects=list(events.SUBJECTS), storage=StorageType.FILE,
            retention=RetentionPolicy.LIMITS, discard=DiscardPolicy.NEW, deny_delete=True,
            max_age=STREAM_AGE_S_MAX, duplicate_window=DUPLICATE_WINDOW_S,
            num_replicas=self._replicas,
        )  # fmt: skip
        if not self.client.is_connected:
            return False
        try:
            await self.stream.add_stream(config)
        except (NatsError, TimeoutError, OSError) as failure:
            if isinstance(failure, APIError) and failure.err_code == _STREAM_IS_ANOTHER:
                return True  # its operator has made it another way (with more replicas, say)
            log.warning("the stream cannot be made", failure=type(failure).__name__)
            return False
        return True

    async def watch(self, subject: str, seen: Callable[[bytes], None]) -> None:
        """Calls `seen` with each payload told from now on; what was missed is missed."""

        async def deliver(message: Msg) -> None:
            seen(message.data)

        await self.until_connected()
        await self.client.subscribe(subject, cb=deliver)

    async def _send(self, letters: Sequence[Letter], numbers: Iterable[str]) -> None:
        # The library's own publish_async loses cancellations, and a slot with each failure.
        if not self._inbox:
            inbox = self.client.new_inbox()
            await self.client.subscribe(f"{inbox}.*", cb=self._answered)
            self._inbox = inbox
        for letter, number in zip(letters, numbers, strict=True):
            await self.client.publish(
                letter.subject, letter.payload, reply=f"{self._inbox}.{number}",
                headers=letter.headers,
            )  # fmt: skip

    async def _answered(self, message: Msg) -> None:
        future = self._acks.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(_ack(message))

    async def _connect(self, url: str, name: str) -> None:
        while not self.client.is_connected:
            try:
                await self.client.connect(
                    servers=url.split(","), name=name, max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT_S, ping_interval=2,  # type: ignore[arg-type]
                    connect_timeout=2, pending_size=4 * 1024 * 1024,
                    inbox_prefix=f"_INBOX_{name}",  # nobody else may listen to our answers
                    error_cb=_on_error, disconnected_cb=self._on_away, reconnected_cb=_on_back,
                    closed_cb=self._on_closed,
                )  # fmt: skip
            except (NatsError, OSError, TimeoutError) as failure:
                log.warning("NATS is away", failure=type(failure).__name__)
                await asyncio.sleep(RECONNECT_WAIT_S)

    async def _on_away(self) -> None:
        if not self._closing:
            log.warning("NATS is away")

    async def _on_closed(self) -> None:
        # The client never comes back from this (credentials that are refused, say); a new process
        # does, or says what is wrong at its start.
        if not self._closing:
            log.error("NATS has closed the connection for good: this process ends")
            signal.raise_signal(signal.SIGTERM)


def _ack(message: Msg) -> _Ack:
    """Returns what an answer to a publication says (JetStream's PubAck, or nobody is there)."""
    if (message.headers or {}).get("Status") == "503":
        return _Ack.NO_STREAM
    try:
        return _Ack.NONE if "error" in json.loads(message.data) else _Ack.STORED
    except ValueError:
        return _Ack.NONE


async def _on_error(failure: Exception) -> None:
    log.debug("NATS says", failure=repr(failure))


async def _on_back() -> None:
    log.info("NATS is back")

"""The connection to NATS, the stream, and publishing with many messages in flight."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, PubAck, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NoStreamResponseError

from mercato import events
from mercato.platform.tasks import Tasks

PUBLISH_TIMEOUT_S: Final = 2.0
RECONNECT_WAIT_S: Final = 0.5
DUPLICATE_WINDOW_S: Final = 120.0
STREAM_AGE_S_MAX: Final = 7 * 86400.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Letter:
    """A fact on its way: where to, what, and the headers with its message id."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class Bus:
    """A connection to NATS that is never given up."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stream = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self._tasks = Tasks()
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, name: str) -> AsyncIterator["Bus"]:
        """Opens a connection to `url` (commas between several); returns also while NATS is away."""
        bus = cls(Client())
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

    async def publish(self, letters: Sequence[Letter]) -> list[bool]:
        """Publishes all at once; returns for each whether the stream said that it has it.

        No answer is not a no: the message may be there, or arrive later. Publish it again under
        the same message id.
        """
        if not self.client.is_connected:
            return [False] * len(letters)
        waiting = [await self._publish(letter) for letter in letters]
        pending = {future for future in waiting if future is not None}
        if pending:
            await asyncio.wait(pending, timeout=PUBLISH_TIMEOUT_S)
        told = [future is not None and _acknowledged(future) for future in waiting]
        if any(_streamless(future) for future in pending):
            await self.ensure_stream()
        return told

    async def ensure_stream(self) -> bool:
        """Makes the stream when it is not there; returns whether it is there now."""
        config = StreamConfig(
            name=events.STREAM, subjects=list(events.SUBJECTS), storage=StorageType.FILE,
            retention=RetentionPolicy.LIMITS, discard=DiscardPolicy.NEW, deny_delete=True,
            max_age=STREAM_AGE_S_MAX, duplicate_window=DUPLICATE_WINDOW_S,
        )  # fmt: skip
        try:
            await self.stream.add_stream(config)
        except (NatsError, TimeoutError, OSError) as failure:
            log.warning("the stream cannot be made", failure=type(failure).__name__)
            return False
        return True

    async def watch(self, subject: str, seen: Callable[[bytes], None]) -> None:
        """Calls `seen` with each payload told from now on; what was missed is missed."""

        async def deliver(message: Msg) -> None:
            seen(message.data)

        await self.until_connected()
        await self.client.subscribe(subject, cb=deliver)

    async def _publish(self, letter: Letter) -> "asyncio.Future[PubAck] | None":
        try:
            return await self.stream.publish_async(
                letter.subject, letter.payload, headers=letter.headers, wait_stall=1.0
            )
        except (NatsError, TimeoutError, OSError):
            return None

    async def _connect(self, url: str, name: str) -> None:
        while not self.client.is_connected:
            try:
                await self.client.connect(
                    servers=url.split(","), name=name, max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT_S, ping_interval=5,  # type: ignore[arg-type]
                    connect_timeout=2, pending_size=4 * 1024 * 1024,
                    error_cb=_on_error, disconnected_cb=self._on_away, reconnected_cb=_on_back,
                )  # fmt: skip
            except (NatsError, OSError, TimeoutError) as failure:
                log.warning("NATS is away", failure=type(failure).__name__)
                await asyncio.sleep(RECONNECT_WAIT_S)

    async def _on_away(self) -> None:
        if not self._closing:
            log.warning("NATS is away")


def _acknowledged(future: "asyncio.Future[PubAck]") -> bool:
    if not future.done():
        future.cancel()
        return False
    return future.exception() is None


def _streamless(future: "asyncio.Future[PubAck]") -> bool:
    done = future.done() and not future.cancelled()
    return done and isinstance(future.exception(), NoStreamResponseError)


async def _on_error(failure: Exception) -> None:
    log.debug("NATS says", failure=repr(failure))


async def _on_back() -> None:
    log.info("NATS is back")

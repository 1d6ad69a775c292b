"""A durable pull consumer: batches in stream order, three endings, and no trust in the broker.

A delivery is done (acknowledged), tried again later, or parked. Acknowledgements only ever follow
the handler's commit, and may be forgotten: handlers must know what they have seen.
The protocol is JetStream's own (`$JS.API.CONSUMER.MSG.NEXT`), because the client library's
`fetch` stalls now and then and hides a consumer that has gone.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pymongo.errors import PyMongoError

from mercato import events
from mercato.platform import telemetry
from mercato.platform.bus.connection import Bus
from mercato.platform.fold import gathered, group_max
from mercato.platform.rpc.refusals import understood

BATCH_MAX: Final = 200
BATCH_MIN: Final = 10  # what could not be handled in time is tried in halves, down to this
# What comes in a rush may wait so long for more, to share a transaction, as long as some come in
# each step; they come as their senders commit.
GATHER_S: Final = 0.1
GATHER_STEP_S: Final = 0.025
PULL_EXPIRES_S: Final = 5.0
HEARTBEAT_S: Final = 1.0
ACK_WAIT_S: Final = 5.0
ACK_PENDING_MAX: Final = 2000
RETRY_DELAY_S: Final = 0.5
ATTEMPTS_MAX: Final = 5  # of a delivery that fails by a fault of ours, before it is parked

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A fact as it arrived; `attempt` counts from 1."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    attempt: int


Handle = Callable[[Sequence[Delivery]], Awaitable[None]]
Park = Callable[[Delivery, str], Awaitable[None]]


class Consumer:
    """Feeds `handle` with batches of `subjects` under the durable name `name`, for ever."""

    def __init__(
        self, bus: Bus, name: str, subjects: Sequence[str], handle: Handle, park: Park
    ) -> None:
        self._bus = bus
        self._name = name
        self._subjects = subjects
        self._handle = handle
        self._park = park
        self._arrived: deque[Msg] = deque()
        self._wake = asyncio.Event()
        self._size_max = min(BATCH_MAX, group_max())
        self._size = (
            self._size_max
        )  # of a batch: halved by each that has to wait, doubled by success
        self._wanted = 0  # asked for and not yet delivered
        self._trouble = ""

    async def run(self) -> None:
        while True:
            await self._bus.until_connected()
            try:
                if await self._bus.ensure_stream():
                    await self._ensure_consumer()
                    await self._feed()
            except (NatsError, PyMongoError, TimeoutError, OSError) as failure:
                log.warning("consumer is cut off", consumer=self._name, failure=repr(failure))
            await asyncio.sleep(0.2)

    async def _ensure_consumer(self) -> None:
        await self._bus.stream.add_consumer(
            events.STREAM,
            ConsumerConfig(
                durable_name=self._name, filter_subjects=list(self._subjects),
                deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_S, max_ack_pending=ACK_PENDING_MAX, max_deliver=-1,
            ),
        )  # fmt: skip

    async def _feed(self) -> None:
        """Pulls and handles until the broker shows trouble or falls silent.

        The inbox is a new one each time: what was asked for before is then not counted here.
        """
        self._wanted, self._trouble = 0, ""
        inbox = self._bus.client.new_inbox()
        subscription = await self._bus.client.subscribe(inbox, cb=self._arrive)
        try:
            while not self._trouble:
                if self._wanted < BATCH_MAX:
                    await self._pull(inbox)
                if not await self._something_came():
                    return
                while self._arrived:
                    await self._settle(await self._batch())
        finally:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def _batch(self) -> list[Msg]:
        """Returns what has arrived; what does not come alone waits a moment for more."""
        if len(self._arrived) > 1:
            await gathered(
                self._arrived, size_max=self._size, gather_s=GATHER_S, step_s=GATHER_STEP_S
            )
        size = min(len(self._arrived), self._size)
        return [self._arrived.popleft() for _ in range(size)]

    async def _pull(self, reply: str) -> None:
        self._wanted += BATCH_MAX
        wish = {
            "batch": BATCH_MAX,
            "expires": int(PULL_EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{events.STREAM}.{self._name}"
        await self._bus.client.publish(subject, json.dumps(wish).encode(), reply=reply)

    async def _something_came(self) -> bool:
        try:
            async with asyncio.timeout(3 * HEARTBEAT_S):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _arrive(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status", "")
        if message.reply:  # where to acknowledge: the broker's own remarks have no such place
            self._wanted -= 1
            self._arrived.append(message)
        elif status in ("404", "408"):
            self._wanted -= int((message.headers or {}).get("Nats-Pending-Messages", BATCH_MAX))
        elif status != "100":
            self._trouble = status or "unknown"
        self._wake.set()

    async def _settle(self, messages: list[Msg]) -> None:
        deliveries = [_delivery(message) for message in messages]
        try:
            await self._handle(deliveries)
        except Exception as failure:
            refusal = understood(failure)
            if refusal is None:
                log.exception("events failed", consumer=self._name, count=len(messages))
                await self._one_by_one(messages, failure)
                return
            log.warning("events wait", consumer=self._name, why=refusal.slug, count=len(messages))
            self._size = min(max(self._size // 2, BATCH_MIN), self._size_max)
            await self._later(messages)
        else:
            self._size = min(self._size * 2, self._size_max)
            for message in messages:
                telemetry.EVENTS.labels(message.subject, "done").inc()
                await message.ack()

    async def _one_by_one(self, messages: list[Msg], failure: Exception) -> None:
        """Finds the delivery that spoils its batch: each is tried alone, the last resort parks."""
        if len(messages) > 1:
            for message in messages:
                await self._settle([message])
            return
        delivery = _delivery(messages[0])
        if delivery.attempt < ATTEMPTS_MAX:
            await self._later(messages)
            return
        await self._park(delivery, f"{type(failure).__name__} at attempt {delivery.attempt}")
        telemetry.EVENTS.labels(delivery.subject, "parked").inc()
        await messages[0].term()

    async def _later(self, messages: list[Msg]) -> None:
        for message in messages:
            telemetry.EVENTS.labels(message.subject, "later").inc()
            await message.nak(delay=RETRY_DELAY_S)


def _delivery(message: Msg) -> Delivery:
    attempt = message.metadata.num_delivered or 1
    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
    return Delivery(message.subject, message.data, headers, attempt)

"""A broker like nats-server with JetStream, and the part of its client that our bus drives.

It stores, repeats, reorders, delays, loses and forgets; `Nats-Msg-Id` is known per stream for
two minutes. What it has may be gone whole at any moment.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

from mercato.platform.bus.connection import DUPLICATE_WINDOW_S
from mercato.platform.bus.consumer import ACK_WAIT_S
from tests.simulation.chance import Trouble
from tests.simulation.loop import Process, VirtualLoop


class Receiver(Protocol):
    """A client's connection, as the broker sees it."""

    process: Process

    @property
    def reachable(self) -> bool: ...

    def receive(self, subject: str, message: "Message", *, late: bool) -> None: ...

    def hear(self, event: "Event") -> None: ...

    def flush(self) -> None: ...


@dataclass(slots=True)
class Event:
    subject: str
    data: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Pull:
    """A wish for `left` messages, to `inbox`, until it expires."""

    client: Receiver
    inbox: str
    left: int
    until: float


@dataclass(slots=True)
class Durable:
    """A consumer's place in the stream, and what it has not acknowledged."""

    prefixes: tuple[str, ...]
    position: int = 0
    again: deque[int] = field(default_factory=deque)
    told: dict[int, int] = field(default_factory=dict)  # number of deliveries by index
    done: set[int] = field(default_factory=set)
    pulls: deque[Pull] = field(default_factory=deque)


class Message:
    """A message as a client gets it; endings reach the broker, or they do not."""

    def __init__(self, subject: str, data: bytes, headers: dict[str, str], reply: str) -> None:
        self.subject = subject
        self.data = data
        self.headers = headers
        self.reply = reply
        self.metadata = SimpleNamespace(num_delivered=1)
        self.ended: Callable[[float | None], None] = lambda _: None

    async def ack(self) -> None:
        self.ended(None)

    async def term(self) -> None:
        self.ended(None)

    async def nak(self, delay: float) -> None:
        self.ended(delay)


class Broker:
    """One stream and its consumers; `epoch` counts its lives."""

    def __init__(self, loop: VirtualLoop, trouble: Trouble) -> None:
        self.loop = loop
        self.trouble = trouble
        self.clients: list[Receiver] = []
        self.away_until = 0.0
        self.deaf: str = ""  # subjects that begin so are stored and never delivered
        self.epoch = 0
        self.events: list[Event] | None = None
        self.durables: dict[str, Durable] = {}
        self._known: dict[str, tuple[float, int]] = {}
        self.stored = 0

    @property
    def away(self) -> bool:
        return self.away_until > self.loop.time()

    def wipe(self, away_s: float) -> None:
        """Is killed, its directory with it, and comes back empty."""
        self.epoch += 1
        self.events, self.durables, self._known = None, {}, {}
        self.leave(away_s)

    def leave(self, away_s: float) -> None:
        self.away_until = self.loop.time() + away_s
        for durable in self.durables.values():
            durable.pulls.clear()
        self.loop.outside(away_s + 0.001, self._back)

    def forget_consumers(self) -> None:
        """The consumers are gone: whoever makes them anew gets everything from the start."""
        self.durables = {}
        self.epoch += 1

    def _back(self) -> None:
        if not self.away:
            for client in self.clients:
                client.flush()

    def store(self, event: Event) -> dict[str, Any] | None:
        """Stores `event` unless its id is known; None when there is no stream."""
        if self.events is None:
            return None
        now_s, name = self.loop.time(), event.headers["Nats-Msg-Id"]
        until, number = self._known.get(name, (0.0, 0))
        if until > now_s:
            return {"stream": "EVENTS", "seq": number, "duplicate": True}
        self.events.append(event)
        self.stored += 1
        self._known[name] = (now_s + DUPLICATE_WINDOW_S, len(self.events))
        self.trouble.note("broker", "stores", event.subject, name)
        for durable in self.durables.values():
            self.deliver(durable)
        return {"stream": "EVENTS", "seq": len(self.events)}

    def pull(self, name: str, pull: Pull) -> None:
        durable = self.durables.get(name)
        if durable is not None and not self.away:
            durable.pulls.append(pull)
            self.deliver(durable)

    def deliver(self, durable: Durable) -> None:
        """Gives to those who wait what there is for them."""
        while durable.pulls and not self.away:
            pull = durable.pulls[0]
            if pull.left == 0 or pull.until <= self.loop.time() or not pull.client.reachable:
                durable.pulls.popleft()
                continue
            index = self._next(durable)
            if index is None:
                return
            pull.left -= 1
            self._hand_over(durable, index, pull)

    def _next(self, durable: Durable) -> int | None:
        while durable.again:
            index = durable.again.popleft()
            if index not in durable.done:
                return index
        events = self.events or []
        while durable.position < len(events):
            index = durable.position
            durable.position += 1
            if events[index].subject.startswith(durable.prefixes):
                return index
        return None

    def _hand_over(self, durable: Durable, index: int, pull: Pull) -> None:
        assert self.events is not None
        event, trouble = self.events[index], self.trouble
        count = durable.told[index] = durable.told.get(index, 0) + 1
        self.loop.outside(ACK_WAIT_S, self._unless_done, durable, index, count, self.epoch)
        if self.deaf and event.subject.startswith(self.deaf):
            return
        if trouble.happens("delivery_lost"):
            trouble.note("broker", "loses a delivery of", event.subject)
            return
        for _ in range(2 if trouble.happens("delivery_twice") else 1):
            message = Message(event.subject, event.data, dict(event.headers), "$JS.ACK")
            message.metadata.num_delivered = count
            message.ended = self._ending(durable, index, count, pull.client.process)
            pull.client.receive(pull.inbox, message, late=trouble.happens("delivery_late"))

    def _ending(
        self, durable: Durable, index: int, count: int, process: Process
    ) -> Callable[[float | None], None]:
        epoch = self.epoch

        def ended(again_in_s: float | None) -> None:
            process.check()
            if self.away or epoch != self.epoch or self.trouble.happens("ack_lost"):
                return
            if again_in_s is None:
                durable.done.add(index)
            else:
                self.loop.outside(again_in_s, self._unless_done, durable, index, count, epoch)

        return ended

    def _unless_done(self, durable: Durable, index: int, count: int, epoch: int) -> None:
        if epoch == self.epoch and index not in durable.done and durable.told[index] == count:
            durable.again.append(index)
            self.deliver(durable)

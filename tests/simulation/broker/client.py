"""The part of nats-py's client that our bus and its consumers drive."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nats.errors import TimeoutError as NatsTimeoutError

from tests.simulation.broker.stream import Broker, Durable, Event, Message, Pull
from tests.simulation.loop import Process

_NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT."
LATE_S: Final = 1.0

Seen = Callable[[Any], Awaitable[None]]


class Client:
    """What Bus and Consumer use of nats-py's client, and its JetStream context."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self.process = process
        self._seen: dict[str, Seen] = {}
        self._unsent: list[Callable[[], None]] = []
        self._inboxes = 0
        broker.clients.append(self)

    @property
    def is_connected(self) -> bool:
        return not self._broker.away

    @property
    def reachable(self) -> bool:
        return self.process.alive and self.is_connected

    def jetstream(self, timeout: float) -> "Client":
        return self

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"_INBOX.{self.process.name}.{self._inboxes}"

    async def subscribe(self, subject: str, cb: Seen) -> "Subscription":
        self._seen[subject] = cb
        return Subscription(self._seen, subject)

    async def add_stream(self, _: Any) -> None:
        await self._ask()
        if self._broker.events is None:
            self._broker.events = []

    async def add_consumer(self, _: str, config: Any) -> None:
        await self._ask()
        prefixes = tuple(subject.rstrip(">") for subject in config.filter_subjects)
        self._broker.durables.setdefault(config.durable_name, Durable(prefixes))

    async def _ask(self) -> None:
        self.process.check()
        await asyncio.sleep(self._broker.trouble.pause_s(0.001))
        if self._broker.away:
            raise NatsTimeoutError

    async def publish(
        self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends, or keeps what cannot be sent until the connection is back, as nats-py does."""
        self.process.check()
        send = self._wish(subject, data, reply) or self._event(subject, data, reply, headers or {})
        if self._broker.away:
            self._unsent.append(send)
        else:
            send()

    def _wish(self, subject: str, data: bytes, reply: str) -> Callable[[], None] | None:
        if not subject.startswith(_NEXT):
            return None
        wish, name = json.loads(data), subject.rpartition(".")[2]
        expires_s = wish["expires"] / 1e9
        pull = Pull(self, reply, wish["batch"], self._broker.loop.time() + expires_s)
        self._broker.loop.outside(expires_s, self._expired, pull, self._broker.epoch)
        beat_s = wish["idle_heartbeat"] / 1e9
        self._broker.loop.outside(beat_s, self._beat, pull, beat_s, name)
        return lambda: self._broker.pull(name, pull)

    def _expired(self, pull: Pull, epoch: int) -> None:
        if epoch == self._broker.epoch and not self._broker.away and pull.left:
            headers = {"Status": "408", "Nats-Pending-Messages": str(pull.left)}
            self.receive(pull.inbox, Message(pull.inbox, b"", headers, ""), late=False)

    def _beat(self, pull: Pull, beat_s: float, name: str) -> None:
        loop, durable = self._broker.loop, self._broker.durables.get(name)
        if self.process.alive and pull.left and loop.time() < pull.until:
            if durable is not None and pull in durable.pulls:
                self.receive(
                    pull.inbox, Message(pull.inbox, b"", {"Status": "100"}, ""), late=False
                )
            loop.outside(beat_s, self._beat, pull, beat_s, name)

    def _event(
        self, subject: str, data: bytes, reply: str, headers: Mapping[str, str]
    ) -> Callable[[], None]:
        event = Event(subject, bytes(data), dict(headers))
        trouble, loop = self._broker.trouble, self._broker.loop

        def send() -> None:
            if trouble.happens("publish_lost"):
                trouble.note("broker", "never gets", subject)
            elif trouble.happens("publish_late"):
                loop.outside(trouble.pause_s(LATE_S), self._store, event, reply)
            else:
                self._store(event, reply)

        return send

    def _store(self, event: Event, reply: str) -> None:
        broker = self._broker
        if broker.away:
            return
        for client in broker.clients:
            client.hear(event)
        answer = broker.store(event)
        if broker.trouble.happens("publish_unconfirmed"):
            return
        headers = {} if answer else {"Status": "503"}
        data = json.dumps(answer or {}).encode()
        self.receive(reply, Message(reply, data, headers, ""), late=False)

    def hear(self, event: Event) -> None:
        """A plain subscription: whoever listens now hears it."""
        if event.subject in self._seen:
            message = Message(event.subject, event.data, event.headers, "")
            self.receive(event.subject, message, late=False)

    def receive(self, subject: str, message: Message, *, late: bool) -> None:
        trouble = self._broker.trouble
        pause_s = trouble.pause_s(LATE_S if late else 0.0005)
        self._broker.loop.outside(pause_s, self._received, subject, message)

    def _received(self, subject: str, message: Message) -> None:
        seen = self._seen.get(subject) or self._seen.get(f"{subject.rpartition('.')[0]}.*")
        if seen is None or not self.reachable:
            return
        if (stalled_s := self._broker.loop.stalled_s(self.process)) > 0:
            self._broker.loop.outside(stalled_s, self._received, subject, message)
            return
        try:
            seen(message).__await__().__next__()  # our own callbacks never wait
        except StopIteration:
            return
        raise RuntimeError("a subscription's callback waits for something")

    def flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for send in unsent if self.process.alive else ():
            send()


@dataclass(slots=True)
class Subscription:
    seen: dict[str, Seen]
    subject: str

    async def unsubscribe(self) -> None:
        self.seen.pop(self.subject, None)

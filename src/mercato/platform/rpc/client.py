"""Channels to the other services: one for life, with a deadline and an identity on each call."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message

from mercato.kernel.client import Client
from mercato.kernel.identity import Caller
from mercato.platform import telemetry
from mercato.platform.rpc.guard import ADDRESS_KEY, AGENT_KEY, SPEAKS_FOR_KEY, speaking_for
from mercato.platform.rpc.refusals import refusal_in
from mercato.platform.rpc.server import MESSAGE_BYTES_MAX
from mercato.platform.rpc.tls import Identity
from mercato.platform.tokens import Tokens

DEADLINE_S: Final = 3.0

# UNAVAILABLE may mean "applied, and the answer was lost": every method that writes carries a key
# or an id, so a second time is the same time. CANCELLED is what a copy that stops says of calls
# that it had no time to begin.
_RETRY: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ],
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},  # a copy that is stopping is left out
    }
)

OPTIONS: Final = (
    ("grpc.service_config", _RETRY),
    ("grpc.enable_retries", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX * 4),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

# Where another copy can take over, one that is frozen must be noticed within a call's deadline.
_PATIENT: Final = (("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 5_000))
_ALERT: Final = (
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.ping_timeout_ms", 1_000),  # of other pings: a keepalive waits for them
)

Answer = TypeVar("Answer")
_client: ContextVar[Client | None] = ContextVar("client", default=None)


def carry(client: Client) -> None:
    """Has every call of this task tell for which client it is made."""
    _client.set(client)


class Channels:
    """Opens channels as the service `name` and calls through them; with an `identity` by TLS."""

    def __init__(self, tokens: Tokens, name: str, identity: Identity | None = None) -> None:
        self._tokens = tokens
        self._name = name
        self._identity = identity

    @asynccontextmanager
    async def open(self, target: str, peer: str = "") -> AsyncIterator[grpc.aio.Channel]:
        """Opens a channel to `target`; connects at its first use.

        `host:port`, or those of several copies (`10.0.0.1:50052,10.0.0.2:50052`), which take turns.
        `peer` is the service that must be there: by TLS its certificate must bear that name, or
        without one the host's.
        """
        channel = self._channel(target, peer)
        try:
            yield channel
        finally:
            await channel.close()

    def _channel(self, target: str, peer: str) -> grpc.aio.Channel:
        several = "," in target
        address = f"ipv4:{target}" if several else target
        options: tuple[tuple[str, object], ...] = OPTIONS + (_ALERT if several else _PATIENT)
        if self._identity is None:
            return grpc.aio.insecure_channel(address, options=options)
        if peer:
            options += (("grpc.ssl_target_name_override", peer),)
        return grpc.aio.secure_channel(address, self._identity.for_client(), options=options)

    async def call(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Message,
        *,
        speaks_for: Caller | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Answer:
        """Calls `method`, in the name of a user when `speaks_for` says so.

        Raises Refused with what the other service said.
        """
        metadata = [("authorization", f"Bearer {self._tokens.service(self._name)}")]
        metadata += telemetry.headers().items()
        client = _client.get()
        if client is not None:
            metadata += ((ADDRESS_KEY, client.address), (AGENT_KEY, client.agent))
        if speaks_for is not None:
            metadata.append((SPEAKS_FOR_KEY, speaking_for(speaks_for)))
        try:
            return await method(request, timeout=deadline_s, metadata=tuple(metadata))
        except grpc.aio.AioRpcError as failure:
            raise refusal_in(failure) from None

"""A service's gRPC server: health, reflection, limits, and a stop that finishes what it began."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from mercato.kernel.identity import Party
from mercato.platform.rpc.guard import Guard, Rule
from mercato.platform.rpc.tls import Identity
from mercato.platform.tasks import Tasks
from mercato.platform.tokens import Tokens

MESSAGE_BYTES_MAX: Final = 1024 * 1024
CALLS_MAX: Final = 2000
STOP_GRACE_S: Final = 5.0
NOTICE_S: Final = 0.25  # for those who watch our health to turn to another copy

OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX * 4),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class _Health(health_aio.HealthServicer):
    """The library's, but watches, which never end by themselves, do not hold up a stop."""

    def __init__(self) -> None:
        super().__init__()
        self._watches = Tasks()

    async def Watch(self, request: Any, context: Any) -> None:
        watch = self._watches.start(super().Watch(request, context))
        try:
            await asyncio.wait([watch])
        finally:
            watch.cancel()

    async def end_watches(self) -> None:
        await self._watches.drain(0)


class Server:
    """Serves the methods of `services`, each for those whom `allowed` names.

    `further` has, by method, the rules that a `.proto` cannot say.
    With an `identity` it speaks mutual TLS only, and answers nobody without a certificate.
    """

    def __init__(
        self,
        services: Sequence[ServiceDescriptor],
        tokens: Tokens,
        allowed: Mapping[str, Set[Party]],
        identity: Identity | None = None,
        further: Mapping[str, Rule] = MappingProxyType({}),
    ) -> None:
        missing = {method.name for each in services for method in each.methods} ^ set(allowed)
        if missing:
            raise ValueError(f"every method needs its callers: {sorted(missing)}")
        self._names = tuple(each.full_name for each in services)
        self._guard = Guard(tokens, allowed, further, certified=identity is not None)
        self._identity = identity
        self._health = _Health()
        self.grpc = grpc.aio.server(
            interceptors=(self._guard,), options=OPTIONS, maximum_concurrent_rpcs=CALLS_MAX
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        names = (*self._names, health, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc)

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncIterator[int]:
        """Serves on `host:port` (0: a free one), yields the port, and drains at the end.

        Raises OSError when the port is taken.
        """
        try:
            bound = self._open(f"{host}:{port}")
        except RuntimeError as failure:
            raise OSError(f"port {port} is taken or not ours to open") from failure
        await self.grpc.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        try:
            yield bound
        finally:
            await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
            await asyncio.sleep(NOTICE_S)
            stopping = self._guard.tasks.start(self.grpc.stop(STOP_GRACE_S))
            await asyncio.sleep(0.05)  # from here on nobody can begin to watch again
            await self._health.end_watches()
            await stopping
            await self._guard.tasks.drain(STOP_GRACE_S)

    def _open(self, address: str) -> int:
        if self._identity is None:
            return self.grpc.add_insecure_port(address)
        return self.grpc.add_secure_port(address, self._identity.for_server())

    async def _say(self, status: Any) -> None:
        for name in ("", *self._names):
            await self._health.set(name, status)

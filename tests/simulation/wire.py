"""Calls between services without gRPC: our own handlers, over a connection that may fail."""

import asyncio
import contextvars
from typing import Any, Final

import grpc

from mercato.kernel.identity import Caller
from mercato.platform.rpc import guard, status_of
from mercato.platform.rpc.refusals import Refused, refusal_of, understood
from tests.simulation.chance import Trouble
from tests.simulation.loop import Process

ATTEMPTS_MAX: Final = 4
RETRY_S: Final = 0.05
WAY_S: Final = 0.001


class Stub:
    """Names the methods of `service`, for Channels.call."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __getattr__(self, method: str) -> tuple[str, str]:
        return self._service, method


class Wire:
    """Where the services' handlers are; `findings` takes what no handler may do."""

    def __init__(self, trouble: Trouble, findings: list[str]) -> None:
        self.trouble = trouble
        self.findings = findings
        self._servers: dict[str, list[tuple[Process, Any]]] = {}

    def serve(self, service: str, process: Process, handler: Any) -> None:
        self._servers.setdefault(service, []).append((process, handler))

    def someone(self, service: str) -> tuple[Process, Any] | None:
        alive = [each for each in self._servers.get(service, ()) if each[0].alive]
        self._servers[service] = alive
        return self.trouble.chance.choice(alive) if alive else None


class Channels:
    """What `mercato.platform.rpc.Channels` is to the services."""

    def __init__(self, wire: Wire, process: Process) -> None:
        self._wire = wire
        self._process = process

    async def call(
        self, method: tuple[str, str], request: Any, *,
        speaks_for: Caller | None = None, deadline_s: float = 3.0,
    ) -> Any:  # fmt: skip
        asking = speaks_for or Caller(self._process.name.partition(" ")[0], "service")
        try:
            async with asyncio.timeout(deadline_s):
                return await self._insist(method, request, asking)
        except TimeoutError:
            raise _trouble(grpc.StatusCode.DEADLINE_EXCEEDED) from None

    async def _insist(self, method: tuple[str, str], request: Any, asking: Caller) -> Any:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._once(method, request, asking)
            except Refused as refusal:
                if refusal.code is not grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS_MAX:
                    raise
            await asyncio.sleep(RETRY_S * 2**attempt)
        raise AssertionError

    async def _once(self, method: tuple[str, str], request: Any, asking: Caller) -> Any:
        self._process.check()
        trouble = self._wire.trouble
        await asyncio.sleep(trouble.pause_s(WAY_S))
        server = self._wire.someone(method[0])
        if server is None or trouble.happens("calls_refused"):
            raise _trouble(grpc.StatusCode.UNAVAILABLE)
        trouble.note(self._process.name, "calls", method[1], "of", server[0].name)
        answered = self._begin(server, method[1], request, asking)
        if trouble.happens("calls_twice"):
            self._begin(server, method[1], request, asking)
        answer = await answered
        if trouble.happens("calls_lose_answers"):
            trouble.note(server[0].name, "answers", method[1], "and is not heard")
            raise _trouble(grpc.StatusCode.UNAVAILABLE)
        return answer

    def _begin(
        self, server: tuple[Process, Any], method: str, request: Any, asking: Caller
    ) -> asyncio.Future[Any]:
        """Starts the handler in its own process; it goes on when the caller has gone."""
        process, handler = server
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        context = contextvars.Context()
        context.run(process.enter)
        context.run(guard._caller.set, asking)
        work = getattr(handler, method)(request, None)
        task = loop.create_task(work, context=context)
        task.add_done_callback(lambda done: self._settle(method, done, answered))
        return answered

    def _settle(self, method: str, done: asyncio.Task[Any], answered: asyncio.Future[Any]) -> None:
        failure = None if done.cancelled() else done.exception()
        if failure is not None and understood(failure) is None:
            self._wire.findings.append(f"{method} failed: {failure!r}")
        if answered.done():
            return
        if done.cancelled():
            answered.set_exception(_trouble(grpc.StatusCode.UNAVAILABLE))
        elif failure is not None:
            answered.set_exception(refusal_of(status_of(failure)))
        else:
            answered.set_result(done.result())
        answered.exception()  # nobody may be left to hear it


def _trouble(code: grpc.StatusCode) -> Refused:
    return Refused(code, code.value[1].replace(" ", "-"), "the call failed", ())

"""The sender: takes due mails from the queue and sends them over a few connections at once.

Any number of senders may run: a mail is held by a lease, and the move to DOT needs it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import structlog
from aiosmtplib import SMTPException
from pymongo.errors import PyMongoError

from mercato.kernel.clock import monotonic, now
from mercato.mailer import metrics
from mercato.mailer.composing import Letter
from mercato.mailer.model import Mail, Outcome, State
from mercato.mailer.repository import LEASE_S, MongoMails
from mercato.mailer.smtp import MailServer, Post
from mercato.platform.tasks import Tasks, finish, together

CLAIM_MAX: Final = 32
POLL_S: Final = 0.5  # for mails that another copy took in, and for those that were put off
RENEW_S: Final = LEASE_S / 4
RECORD_S_MAX: Final = 30.0  # how long an outcome is kept in memory while the database is away
STOP_S_MAX: Final = 3.0  # for the mails under way when we stop; less than a lease
CONNECT_AGAIN_S: Final = 0.25  # then twice as long each time
CONNECT_AGAIN_S_MAX: Final = 5.0

T = TypeVar("T")
log = structlog.get_logger()


class Sender:
    """Sends what is due over at most `connections` connections to `server`."""

    def __init__(
        self,
        mails: MongoMails,
        compose: Callable[[Mail], Letter],
        server: MailServer,
        *,
        connections: int,
    ) -> None:
        self._mails = mails
        self._compose = compose
        self._posts = [Post(server) for _ in range(connections)]
        self._queue: asyncio.Queue[Mail] = asyncio.Queue(maxsize=connections)
        self._held: dict[str, Mail] = {}
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._away = False

    def soon(self) -> None:
        """There is a new mail: look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Sends until it is cancelled; then finishes the mails under way, gives back the rest."""
        try:
            await together(self._feed(), self._keep(), *map(self._work, self._posts))
        finally:
            await finish(self._leave())

    async def _leave(self) -> None:
        await self._tasks.drain(STOP_S_MAX)
        await asyncio.gather(*(post.quit() for post in self._posts))
        await self._tried(self._mails.release(list(self._held.values())))

    async def _feed(self) -> None:
        while True:
            self._wake.clear()
            mails = await self._tried(self._mails.claim(State.NEW, CLAIM_MAX)) or []
            self._held |= {mail.id: mail for mail in mails}
            for mail in mails:
                await self._queue.put(mail)
            if len(mails) < CLAIM_MAX:
                await self._rest()

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._tried(self._mails.renew(list(self._held.values())))

    async def _work(self, post: Post) -> None:
        while True:
            mail = await self._queue.get()
            await self._connect(post)
            await asyncio.shield(self._tasks.start(self._send(mail, post)))

    async def _connect(self, post: Post) -> None:
        """Waits while the mail server is away; the mail in hand waits too and counts no attempt."""
        delay_s = CONNECT_AGAIN_S
        while True:
            try:
                await post.connect()
            except (SMTPException, OSError) as failure:
                if not self._away:
                    log.warning("mail server is away", failure=str(failure))
                self._away = True
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, CONNECT_AGAIN_S_MAX)
            else:
                if self._away:
                    log.info("mail server is back")
                self._away = False
                return

    async def _send(self, mail: Mail, post: Post) -> None:
        try:
            try:
                letter = self._compose(mail)
            except Exception as failure:  # noqa: BLE001 - it is kept as the mail's reason
                outcome = Outcome(State.FAILED, f"cannot be written: {failure}")
            else:
                outcome = await post.deliver(letter, partial(self._may_go, mail))
            await self._record(mail, outcome)
        finally:
            self._held.pop(mail.id, None)

    async def _may_go(self, mail: Mail) -> bool:
        """Writes DOT; not in time means that another may have the lease by now."""
        started = monotonic()
        written = await self._tried(self._mails.dot(mail))
        return bool(written) and monotonic() - started < LEASE_S / 2

    async def _record(self, mail: Mail, outcome: Outcome) -> None:
        state, reason = outcome.state, outcome.reason
        if state is State.NEW and not mail.may_wait(now()):
            state, reason = State.FAILED, f"given up: {reason}"
        metrics.MAILS.labels(state.lower() if state is not State.NEW else "put_off").inc()
        if state is not State.SENT:
            log.warning("mail not sent", mail=mail.id, state=state, reason=reason)
        writes: dict[State, Callable[[], Awaitable[object]]] = {
            State.SENT: partial(self._mails.sent, mail),
            State.NEW: partial(self._mails.later, mail, reason),
            State.FAILED: partial(self._mails.failed, mail, reason),
            State.PARKED: partial(self._mails.park, mail, reason),
        }
        await _insist(writes[state])

    async def _tried(self, call: Awaitable[T]) -> T | None:
        try:
            return await call
        except PyMongoError as failure:
            log.warning("the queue is away", failure=type(failure).__name__)
            await asyncio.sleep(POLL_S)
            return None


async def _insist(write: Callable[[], Awaitable[object]]) -> None:
    """Writes an outcome, again and again while the database is away; then the lease decides."""
    until = monotonic() + RECORD_S_MAX
    while True:
        try:
            await write()
        except PyMongoError as failure:
            if monotonic() > until:
                log.error("an outcome was not kept", failure=type(failure).__name__)
                return
            await asyncio.sleep(POLL_S)
        else:
            return

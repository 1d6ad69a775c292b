"""The sender: takes due mails from the queue and sends them over a few connections at once.

Any number of senders may run: a mail is held by a lease, and the move to DOT needs it. A new mail
is stored with its lease taken, and sent from memory. Only while mails wait in the database, or too
many in memory, is it left there until its turn comes.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import structlog
from aiosmtplib import SMTPException
from pymongo.errors import PyMongoError

from mercato.kernel.clock import monotonic, now
from mercato.mailer import metrics
from mercato.mailer.composing import Letter
from mercato.mailer.model import Mail, Outcome, State
from mercato.mailer.repository import LEASE_S, MongoMails, Step
from mercato.mailer.smtp import MailServer, Post
from mercato.platform.tasks import Tasks, finish, together

CLAIM_MAX: Final = 128
HELD_MAX: Final = 512  # of these, new ones wait in the database; more are not sent in a lease
POLL_S: Final = 0.5  # for mails that another copy took in, and for those that were put off
RENEW_S: Final = LEASE_S / 4
RECORD_S_MAX: Final = 30.0  # how long an outcome is kept in memory while the database is away
STOP_S_MAX: Final = 3.0  # for the mails under way when we stop; less than a lease
CONNECT_AGAIN_S: Final = 0.25  # then twice as long each time
CONNECT_AGAIN_S_MAX: Final = 5.0

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(slots=True)
class _Held:
    """A mail in our hands; its lease has run since `since`."""

    mail: Mail
    since: float


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
        self._queue: asyncio.Queue[Mail] = asyncio.Queue()
        self._held: dict[str, _Held] = {}
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._behind = True  # mails may wait in the database
        self._stopping = self._away = False

    async def add(self, mails: Sequence[Mail]) -> int:
        """Stores the mails whose ids are new, durably, to be sent; returns how many those were."""
        if self._behind or self._stopping or len(self._held) + len(mails) > HELD_MAX:
            added = await self._mails.add(mails)
            if added:
                self.soon()
            return added
        since = monotonic()
        taken = await self._mails.add_taken(mails)
        self._take(taken, since)
        return len(taken)

    async def outcome(self, mail_id: str) -> Outcome:
        """Returns how far a mail has come, and the trouble that it met."""
        return await self._mails.outcome(mail_id)

    def soon(self) -> None:
        """There are mails in the database: look at once."""
        self._behind = True
        self._wake.set()

    async def run(self) -> None:
        """Sends until it is cancelled; then finishes the mails under way, gives back the rest."""
        try:
            await together(self._feed(), self._keep(), *map(self._work, self._posts))
        finally:
            self._stopping = True
            await finish(self._leave())

    async def _leave(self) -> None:
        await self._tasks.drain(STOP_S_MAX)
        await asyncio.gather(*(post.quit() for post in self._posts))
        await self._tried(self._mails.release([held.mail for held in self._held.values()]))

    async def _feed(self) -> None:
        """Takes what is due in the database, a few more than are being sent."""
        while True:
            self._wake.clear()
            if self._queue.qsize() < CLAIM_MAX:
                since = monotonic()
                mails = await self._tried(self._mails.claim(State.NEW, CLAIM_MAX))
                self._take(mails or [], since)
                self._behind = mails is None or len(mails) == CLAIM_MAX
                if mails and self._behind:
                    continue
            await self._rest()

    def _take(self, mails: Sequence[Mail], since: float) -> None:
        for mail in mails:
            if mail.id not in self._held:  # else our lease ran out, and is ours again
                self._held[mail.id] = _Held(mail, since)
                self._queue.put_nowait(mail)

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()

    async def _keep(self) -> None:
        """Renews the leases of what is in our hands for long."""
        while True:
            await asyncio.sleep(RENEW_S)
            at = monotonic()
            old = [held for held in self._held.values() if at - held.since > RENEW_S]
            renewing = self._mails.renew([held.mail for held in old])
            if await self._tried(renewing):
                for held in old:
                    held.since = at

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

    async def _send(self, first: Mail, post: Post) -> None:
        """Sends a mail, and those that wait behind it, over one connection.

        That a mail was sent is written down together with the next one's dot, or at once if none
        follows: so a connection has one mail at its dot, and no more.
        """
        mail: Mail | None = first
        sent: list[Mail] = []
        try:
            while mail is not None:
                outcome = await self._attempt(mail, post, sent)
                if outcome.state is State.SENT:
                    metrics.MAILS.labels("sent").inc()
                    sent.append(mail)
                else:
                    await self._record(mail, outcome)
                mail = self._following(post)
        finally:
            if sent:
                await _insist(partial(self._mails.step, Step(sent=tuple(sent))))
                self._let_go(sent)

    async def _attempt(self, mail: Mail, post: Post, sent: list[Mail]) -> Outcome:
        try:
            letter = self._compose(mail)
        except Exception as failure:  # noqa: BLE001 - it is kept as the mail's reason
            return Outcome(State.FAILED, f"cannot be written: {failure}")
        return await post.deliver(letter, partial(self._may_go, mail, sent))

    def _following(self, post: Post) -> Mail | None:
        """The next mail, if it can go out at once."""
        if self._behind and self._queue.qsize() <= len(self._posts):
            self._wake.set()
        if self._stopping or not post.ready or self._queue.empty():
            return None
        return self._queue.get_nowait()

    async def _may_go(self, mail: Mail, sent: list[Mail]) -> bool:
        """Writes SENT and DOT; not in time means that another may have the lease by now."""
        started = monotonic()
        written = await self._tried(self._mails.step(Step(tuple(sent), mail)))
        if written is not None:
            self._let_go(sent)
        if mail.id in self._held:
            self._held[mail.id].since = started
        return bool(written) and monotonic() - started < LEASE_S / 2

    def _let_go(self, mails: list[Mail]) -> None:
        for mail in mails:
            self._held.pop(mail.id, None)
        mails.clear()

    async def _record(self, mail: Mail, outcome: Outcome) -> None:
        state, reason = outcome.state, outcome.reason
        if state is State.NEW and not mail.may_wait(now()):
            state, reason = State.FAILED, f"given up: {reason}"
        metrics.MAILS.labels(state.lower() if state is not State.NEW else "put_off").inc()
        log.warning("mail not sent", mail=mail.id, state=state, reason=reason)
        writes: dict[State, Callable[[], Awaitable[object]]] = {
            State.NEW: partial(self._mails.later, mail, reason),
            State.FAILED: partial(self._mails.failed, mail, reason),
            State.PARKED: partial(self._mails.park, mail, reason),
        }
        await _insist(writes[state])
        self._held.pop(mail.id, None)

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

"""What the mailer is asked to do: put a mail into the queue, and say how far it has come."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from mercato.kernel.clock import monotonic
from mercato.kernel.errors import Conflict, Invalid
from mercato.kernel.heads import head_violations
from mercato.mailer.model import Mail, Outcome, State, Written

LOOK_AGAIN_S: Final = 0.01  # then a half longer each time
LOOK_AGAIN_S_MAX: Final = 0.1


class MailRefused(Conflict):
    """The mail server has refused the mail for good."""


class Mails(Protocol):
    """The durable queue, and who sends what is in it."""

    async def add(self, mails: Sequence[Mail]) -> int:
        """Stores the mails whose ids are new, to be sent soon; returns how many those were."""

    async def outcome(self, mail_id: str) -> Outcome:
        """Returns how far a mail has come, and the trouble that it met."""


class Mailing:
    """The queue's front door."""

    def __init__(self, mails: Mails, clock: Callable[[], datetime]) -> None:
        self._mails = mails
        self._clock = clock

    async def send(
        self, *, request: str, to_email: str, subject: str, html: str, wait_s: float
    ) -> Outcome:
        """Queues a mail exactly as given and waits up to `wait_s` seconds for it to be sent.

        The same `request` (the caller's trace, which a repeated call carries again) with the same
        mail is the same mail. Raises Invalid with every bad field, MailRefused when the mail
        server says so.
        """
        violations = tuple(head_violations(to_email, subject))
        if violations:
            raise Invalid("some fields break their rules", violations)
        named = "\0".join((request, to_email, subject, html)).encode()
        mail = Mail(
            id=f"{hashlib.sha256(named).hexdigest()[:24]}:given",
            to_email=to_email,
            content=Written(subject=subject, html=html),
            created_at=self._clock(),
        )
        await self.queue([mail])
        outcome = await self._wait(mail.id, wait_s)
        if outcome.state is State.FAILED:
            raise MailRefused(f"the mail cannot be sent: {outcome.reason}")
        return outcome

    async def queue(self, mails: Sequence[Mail]) -> int:
        """Queues mails, each id once and for ever; returns how many were new."""
        return await self._mails.add(mails) if mails else 0

    async def _wait(self, mail_id: str, wait_s: float) -> Outcome:
        deadline, pause_s = monotonic() + wait_s, LOOK_AGAIN_S
        while True:
            outcome = await self._mails.outcome(mail_id)
            on_its_way = outcome.state in (State.NEW, State.DOT)
            if not on_its_way or monotonic() + pause_s > deadline:
                return outcome
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LOOK_AGAIN_S_MAX)

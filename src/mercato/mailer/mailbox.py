"""Parked mails: asks the mailbox whether it has them (Mailpit's API, https://mailpit.axllent.org)."""

import asyncio
import http.client
import json
import urllib.parse
import urllib.request
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from mercato.kernel.clock import monotonic
from mercato.mailer import metrics
from mercato.mailer.model import Mail, State
from mercato.mailer.repository import MongoMails

TIMEOUT_S: Final = 3.0
ROUND_S: Final = 1.0
MEASURE_S: Final = 5.0
COUNT_MAX: Final = 16
# Between two looks that must both find nothing: an answer may be older than the mail's arrival.
SECOND_LOOK_S: Final = 1.5

log = structlog.get_logger()


class Mailbox:
    """The API at `url`, an http or https address without a path."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # no proxy: the mailbox is a neighbour
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def has(self, message_id: str) -> bool:
        """Whether a message with this Message-ID has arrived; raises OSError or ValueError."""
        return await asyncio.to_thread(self._has, message_id)

    def _has(self, message_id: str) -> bool:
        query = urllib.parse.urlencode({"query": f'message-id:"{message_id}"'})
        try:
            with self._opener.open(f"{self._url}/api/v1/search?{query}", timeout=TIMEOUT_S) as page:
                found = json.load(page)["messages"]
                return any(each["MessageID"].strip("<>") == message_id for each in found)
        except (http.client.HTTPException, KeyError, TypeError, AttributeError) as failure:
            raise ValueError(f"no answer of a mailbox: {failure!r}") from failure


class Resolver:
    """Parks the mails of dead senders, and settles parked ones where a mailbox can be asked."""

    def __init__(self, mails: MongoMails, mailbox: Mailbox | None) -> None:
        self._mails = mails
        self._mailbox = mailbox
        self._measured_at = 0.0

    async def run(self) -> None:
        while True:
            try:
                await self.resolve()
                await self._measure()
            except PyMongoError as failure:
                log.warning("the queue is away", failure=type(failure).__name__)
            await asyncio.sleep(ROUND_S)

    async def resolve(self) -> None:
        """Parks what is abandoned and looks for at most COUNT_MAX parked mails."""
        abandoned = await self._mails.park_abandoned()
        if abandoned:
            metrics.MAILS.labels("parked").inc(abandoned)
            log.warning("mails parked", count=abandoned, reason="their sender was lost")
        if self._mailbox is not None:
            parked = await self._mails.claim(State.PARKED, COUNT_MAX)
            await asyncio.gather(*(self._settle(self._mailbox, mail) for mail in parked))

    async def _settle(self, mailbox: Mailbox, mail: Mail) -> None:
        try:
            there = await mailbox.has(mail.message_id)
            if not there:
                await asyncio.sleep(SECOND_LOOK_S)
                there = await mailbox.has(mail.message_id)
        except (OSError, ValueError) as failure:
            log.warning("mail stays parked", mail=mail.id, failure=str(failure))
            return
        if there:
            await self._mails.sent(mail)
        else:
            await self._mails.not_sent(mail)
        log.info("parked mail settled", mail=mail.id, sent=there)

    async def _measure(self) -> None:
        if monotonic() < self._measured_at + MEASURE_S:
            return
        self._measured_at = monotonic()
        metrics.WAITING.set(await self._mails.count(State.NEW, State.DOT))
        metrics.PARKED.set(await self._mails.count(State.PARKED))

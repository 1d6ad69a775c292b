"""The audit itself: walks one instant of the databases and reports what does not hold."""

from datetime import timedelta
from typing import Any, Final

import pymongo
from pymongo.errors import PyMongoError

from mercato.audit import usecase
from mercato.audit.model import (
    DEAD_LETTERS,
    FINDINGS_MAX,
    LEDGER,
    MAILS,
    ORDERS,
    OUTBOX,
    RESERVATIONS,
    SETTLED,
    STOCK,
    STUCK_MAILS,
    Case,
    Finding,
    Grace,
    Report,
    Severity,
)
from mercato.audit.repository import BATCH, TOO_LONG, Snapshot, history_s
from mercato.kernel.clock import monotonic
from mercato.platform.mongo import Store
from mercato.platform.settings import SettingsError

# How long an outbox keeps closed rows, and some time for the order that they are about.
TRACES_KEPT: Final = timedelta(hours=48)
# The driver asks nothing more that could not be answered within the limit.
EARLY_S: Final = 1.0


async def verify(
    store: Store,
    *,
    settled: bool = False,
    grace: Grace | None = None,
    findings_max: int = FINDINGS_MAX,
    seconds_max: float | None = None,
) -> Report:
    """Reads the databases at one instant and returns what was found; changes nothing.

    `settled` says that nothing is under way: then no order is too young and no open row is young
    enough. `seconds_max` is by default as long as mongod keeps the past. Raises SettingsError
    without a replica set, and when it takes longer; PyMongoError when the database fails.
    """
    began = monotonic()
    limit = seconds_max or await history_s(store)
    try:
        with pymongo.timeout(limit):
            async with Snapshot.open(store) as snapshot:
                audit = _Audit(snapshot, grace or (SETTLED if settled else Grace()), findings_max)
                await audit.run()
    except PyMongoError as failure:
        if failure.timeout and monotonic() - began >= limit - EARLY_S:
            raise SettingsError(TOO_LONG) from failure
        raise
    audit.report.seconds = monotonic() - began
    return audit.report


class _Audit:
    """One walk; what needs a look at another collection is put off and done by the batch."""

    def __init__(self, snapshot: Snapshot, grace: Grace, findings_max: int) -> None:
        self._snapshot = snapshot
        self._grace = grace
        self._unsent: list[tuple[Any, Finding]] = []
        self._ownerless: list[Case] = []
        self.report = Report(snapshot.at, findings_max=findings_max)

    async def run(self) -> None:
        async for case in self._snapshot.cases(self._grace.young, TRACES_KEPT):
            try:
                self._judge(case)
            except (KeyError, TypeError, ValueError) as failure:  # no service has written this
                detail = f"a document about it makes no sense: {failure!r}"
                self.report.add(Finding(ORDERS, case.id, detail))
            if len(self._unsent) >= BATCH or len(self._ownerless) >= BATCH:
                await self._look_up()
        await self._look_up()
        checks, add = self.report.checks, self.report.add
        async for sums in self._snapshot.products():
            checks[STOCK].looked_at += sums.stock is not None
            for finding in usecase.of_product(sums):
                add(finding)
        async for letter in self._snapshot.dead_letters():
            checks[DEAD_LETTERS].looked_at += 1
            if letter.get("state") != "replayed":
                detail = f"{letter['subject']} to {letter['consumer']}: {letter['reason']}"
                add(Finding(DEAD_LETTERS, letter["_id"], detail, Severity.PERSON))

    def _judge(self, case: Case) -> None:
        checks, add, at = self.report.checks, self.report.add, self.report.at
        checks[STUCK_MAILS].looked_at += len(case.mails)
        checks[OUTBOX].looked_at += len(case.rows)
        for mail in case.mails:
            for finding in usecase.of_mail(mail, at, self._grace):
                add(finding)
        for row in case.rows:
            for finding in usecase.of_row(row, at, self._grace):
                add(finding)
        if case.order is not None or case.user is not None:
            self._judge_mails(case)
        if case.order is not None:
            self._judge_order(case)
        elif case.reservation is not None or case.mails or case.rows:
            self._judge_trace(case)
        if case.reservation is not None or case.moves:
            checks[LEDGER].looked_at += 1
            for finding in usecase.of_ledger(case):
                add(finding)

    def _judge_order(self, case: Case) -> None:
        order = case.order or {}
        self.report.under_way += bool(case.rows)
        self.report.checks[ORDERS].looked_at += 1
        self.report.young += bool(order["young"])
        if not order["young"]:
            self.report.checks[RESERVATIONS].looked_at += 1
            for finding in usecase.of_order(case):
                self.report.add(finding)

    def _judge_mails(self, case: Case) -> None:
        self.report.checks[MAILS].looked_at += len(usecase.owed(case))
        for finding in usecase.of_mails(case):
            if finding.mends and case.order is not None:
                self._unsent.append((case.order["user_id"], finding))
            else:
                self.report.add(finding)

    def _judge_trace(self, case: Case) -> None:
        if usecase.is_ours(case):
            self.report.checks[ORDERS].looked_at += 1
            for finding in usecase.of_trace(case):
                self.report.add(finding)
        elif case.reservation is not None:
            self.report.foreign += 1
            if case.reservation["recent"]:
                self._ownerless.append(case)

    async def _look_up(self) -> None:
        """Settles what was put off: a user who is gone gets no mail, what we told of is ours."""
        if self._unsent:
            users = await self._snapshot.users_among([user_id for user_id, _ in self._unsent])
            for user_id, finding in self._unsent:
                if user_id in users:
                    self.report.add(finding)
        if self._ownerless:
            ours = await self._snapshot.told_among([case.id for case in self._ownerless])
            for case in self._ownerless:
                if case.id in ours:
                    self.report.foreign -= 1
                    self.report.checks[ORDERS].looked_at += 1
                    for finding in usecase.of_trace(case, recently=True):
                        self.report.add(finding)
        self._unsent, self._ownerless = [], []

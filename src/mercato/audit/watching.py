"""The audit that never ends: looks, tells, rests for twenty times as long, and looks again."""

import asyncio
import time
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from mercato.audit import metrics
from mercato.audit.auditing import verify
from mercato.audit.model import Check, Report
from mercato.kernel.clock import monotonic
from mercato.platform.mongo import Store
from mercato.platform.settings import SettingsError

FIRST_AFTER_S: Final = 5.0  # others start first
REST_MIN: Final = 20  # times the audit's duration, so that it takes at most 5 % of the time
FINDINGS_MAX: Final = 10

log = structlog.get_logger()


class Watch:
    """Audits `store` every `every_s` seconds, or as seldom as its size makes it."""

    def __init__(self, store: Store, every_s: float) -> None:
        self._store = store
        self._every_s = every_s
        self._began = monotonic()
        self.trouble = ""  # why nobody should believe the metrics
        metrics.AGE.set_function(lambda: monotonic() - self._began)

    async def run(self) -> None:
        await asyncio.sleep(min(self._every_s, FIRST_AFTER_S))
        while True:
            began = monotonic()
            await self.look()
            await asyncio.sleep(max(self._every_s, REST_MIN * (monotonic() - began)))

    async def look(self) -> None:
        """Audits once and tells of it; one that does not go through is counted and told too."""
        began = monotonic()
        try:
            report = await verify(self._store, findings_max=FINDINGS_MAX)
        except (PyMongoError, SettingsError) as failure:
            metrics.FAILURES.inc()
            self.trouble = f"the last audit did not go through: {type(failure).__name__}"
            log.warning("audit did not go through", failure=str(failure).partition(",")[0])
            return
        self._began, self.trouble = began, ""
        _measure(report)
        for check in report.checks.values():
            if check.findings:
                _warn(check, report)
        log.info("audited", clean=report.clean, seconds=round(report.seconds, 3))


def _measure(report: Report) -> None:
    for check in report.checks.values():
        metrics.FINDINGS.labels(check.name).set(check.findings)
        metrics.LOOKED_AT.labels(check.name).set(check.looked_at)
    metrics.UNDER_WAY.set(report.under_way)
    metrics.FOREIGN.set(report.foreign)
    metrics.DURATION.set(report.seconds)
    metrics.LAST.set(time.time())


def _warn(check: Check, report: Report) -> None:
    first = next(finding for finding in report.findings if finding.check == check.name)
    log.warning(
        "audit finding", check=check.name, findings=check.findings, severity=first.severity,
        example=first.subject, detail=first.detail, see="mercato verify",
    )  # fmt: skip

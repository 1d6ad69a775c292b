"""The audit that never ends is a small part of what the database does."""

import asyncio
import time

import pytest

from mercato.audit import metrics
from mercato.audit.watching import REST_MIN, Watch
from mercato.platform.tasks import end
from tests.audit.books import Audited

AUDITS = 3


class Timed(Watch):
    """Knows how long each of its audits took, and when it ended."""

    def __init__(self, audited: Audited) -> None:
        super().__init__(audited.store, every_s=0.001)
        self.audits: list[tuple[float, float]] = []
        self.enough = asyncio.Event()

    async def look(self) -> None:
        began = time.monotonic()
        await super().look()
        self.audits.append((began, time.monotonic()))
        if len(self.audits) == AUDITS:
            self.enough.set()


async def test_an_audit_rests_twenty_times_as_long_as_it_took(audited: Audited) -> None:
    watch = Timed(audited)
    running = asyncio.get_running_loop().create_task(watch.run())
    async with asyncio.timeout(30):
        await watch.enough.wait()
    await end([running])
    for (began, ended), (again, _) in zip(watch.audits, watch.audits[1:], strict=False):
        assert again - ended >= 0.9 * REST_MIN * (ended - began)


async def test_what_an_audit_finds_is_measured_until_it_is_mended(audited: Audited) -> None:
    watch = Watch(audited.store, every_s=60)
    for units, findings in ((1, 1.0), (-1, 0.0)):
        stock = {"$inc": {"stock": units}}
        await audited.store["products"].update_one({"_id": audited.product}, stock)
        await watch.look()
        found = {s.labels["check"]: s.value for s in next(iter(metrics.FINDINGS.collect())).samples}
        assert found == dict.fromkeys(found, 0.0) | {"stock": findings}
        assert len(found) == 8
    (age,) = next(iter(metrics.AGE.collect())).samples
    assert age.value == pytest.approx(0, abs=10)

"""One storm from beginning to end: open, drive, disturb, wait for quiet, judge."""

import asyncio
import math
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from mercato.audit.auditing import verify
from mercato.embedded.secure.mode import trusting
from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.platform.mongo import Store
from mercato.platform.tasks import end
from mercato.storm import records as kept
from mercato.storm import schedule
from mercato.storm.book import Book
from mercato.storm.clients import Clients
from mercato.storm.faults import Faults, Nurse
from mercato.storm.observer import Observer, database
from mercato.storm.opening import open_shop, renew
from mercato.storm.records import Records
from mercato.storm.report import Options, Report, count_faults, percentiles_ms, timeline
from mercato.storm.verdict import Looks, Times, judge
from mercato.storm.wire import NoAnswer, Wire
from mercato.storm.wiring import Wiring

# What is not answered so long after the faults never will be: time, and orders a second.
DRIVE_S_MAX, PACE_MIN = 120.0, 20
STUCK_S_MAX: Final = 60.0  # nothing gets less for so long: it never will be quiet
POLL_S: Final = 0.5
ASK_MAX: Final = 10
DATABASE: Final = "ecommerce"


class Storm:
    """A storm under way; a live view reads its attributes, and nothing else of it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.phase = "starting the platform"
        self.faults: Faults | None = None
        self.observer: Observer | None = None
        self.book: Book | None = None
        self.began = time.monotonic()
        self._nurse = Nurse()
        self._tls: ssl.SSLContext | None = None

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    async def run(self, data_dir: Path) -> Report:
        """Returns the report; raises PlatformError when the platform does not come up."""
        began_at = datetime.now(UTC)
        async with Wiring.open() as wiring, self._platform(data_dir, wiring) as platform:
            port = platform.parts()["gateway"].ports["http"]
            self.phase = "opening the shop"
            o = self.options
            book = await open_shop(port, platform.logins, o.orders, o.clients, self._tls)
            base = database(platform.environment["MONGO_URI"], DATABASE)
            try:
                times = await self._drive(platform, wiring, book, base, port)
                self.phase = "reading what was kept"
                records = await kept.read(base, data_dir / "mailbox")
                stale = await _stale(Wire(port, self._tls), book, records)
                findings = await _audit(platform.environment["MONGO_URI"])
            finally:
                await base.client.close()
        return self._report(began_at, book, records, times, Looks(stale, findings))

    @asynccontextmanager
    async def _platform(self, data_dir: Path, wiring: Wiring) -> AsyncIterator[Platform]:
        async with Platform.open(
            data_dir,
            given=Given(),
            tell=self._nurse.tell,
            rewire=wiring.rewire,
            secure=self.options.secure,
        ) as platform:
            self._tls = trusting(data_dir, platform.urls["gateway"])
            self._nurse.platform = platform
            try:
                yield platform
            finally:
                await self._nurse.leave()

    async def _drive(
        self, platform: Platform, wiring: Wiring, book: Book, base: AsyncDatabase[Any], port: int
    ) -> Times:
        o = self.options
        plan = schedule.draw(o.seed, o.faults_s, o.groups)
        observer, faults = Observer(base, book.hot), Faults(platform, wiring, self._nurse)
        await observer.prepare()
        clients = Clients(
            book,
            port,
            orders=o.orders,
            spread_s=o.faults_s,
            count=o.clients,
            seed=o.seed,
            tls=self._tls,
        )
        self.book, self.observer, self.faults = book, observer, faults
        self.phase, self.began = "storm", clients.began
        loop = asyncio.get_running_loop()
        watching = loop.create_task(observer.run(clients.began))
        driving = loop.create_task(self._to_the_end(clients))
        renewing = loop.create_task(renew(book, port, self._tls))
        try:
            await faults.run(plan, clients.began)
            await asyncio.sleep(max(0.0, o.faults_s - self.now_s))
            faults_s = self.now_s
            times = await self._settle(base, book, observer, driving, faults_s)
            if watching.done():
                watching.result()  # an observer that has failed has seen nothing
            return times
        finally:
            await end([watching, driving, renewing])

    async def _to_the_end(self, clients: Clients) -> float:
        o = self.options
        try:
            async with asyncio.timeout(o.faults_s + DRIVE_S_MAX + o.orders / PACE_MIN):
                await clients.run()
        except TimeoutError:
            pass
        return self.now_s

    async def _settle(
        self, base: AsyncDatabase[Any], book: Book, observer: Observer,
        driving: "asyncio.Task[float]", faults_s: float,
    ) -> Times:  # fmt: skip
        """Waits until nothing waits any more; counts at the limit what should be decided."""
        limit_s = self.options.settle_s
        due = {o.order_id for o in book.acknowledged() if o.acknowledged_s <= faults_s}
        late: int | None = None
        settled_s = quiet_s = None
        driven_s, least, less_s = 0.0, math.inf, 0.0
        while quiet_s is None and (not driven_s or self.now_s < less_s + STUCK_S_MAX):
            await asyncio.sleep(POLL_S)
            self.phase = "settling" if driving.done() else "calm, orders go on"
            driven_s = driven_s or (driving.result() if driving.done() else 0.0)
            try:
                waiting = await observer.waiting(self.began)
                if late is None and self.now_s > faults_s + limit_s:
                    late = await _undecided(base, due)
            except PyMongoError:
                continue
            if driven_s and not waiting.orders:
                settled_s = settled_s or self.now_s
            if driven_s and not waiting.all:
                quiet_s = self.now_s
            if not driven_s or waiting.all < least:
                least, less_s = waiting.all, self.now_s
        if late is None:
            late = await _undecided(base, due)
        return Times(faults_s, driven_s, settled_s, quiet_s, late)

    def _report(
        self, began_at: datetime, book: Book, records: Records, times: Times, looks: Looks
    ) -> Report:
        faults, observer = self.faults, self.observer
        if faults is None or observer is None:
            raise RuntimeError("the storm has not been driven")
        claims = judge(book, records, observer.seen, times, looks, self.options.settle_s)
        acknowledged = book.acknowledged()
        took = [order.acknowledged_s - order.began_s for order in acknowledged]
        until_s = times.quiet_s or self.now_s
        return Report(
            passed=all(claim.kept for claim in claims),
            began_at=began_at.isoformat(timespec="seconds"),
            options=self.options,
            claims=claims,
            times=times,
            acknowledged=len(acknowledged),
            acknowledged_during_faults=sum(
                order.acknowledged_s <= times.faults_s for order in acknowledged
            ),
            orders_a_second=round(len(acknowledged) / times.driven_s, 1),
            accept_ms=percentiles_ms(took),
            request_ms=percentiles_ms([took_s for _, took_s in book.answers]),
            states=_states(records),
            mails=sum(records.delivered.values()),
            mails_parked=len(observer.seen.parked),
            told_again=records.told_again,
            statuses={str(status): n for status, n in sorted(book.statuses.items())},
            unanswered_tries=dict(book.failures),
            faults=count_faults(faults.happened),
            restarts=self._nurse.restarts,
            happened=faults.happened,
            seconds=timeline(book, observer.seen.waiting, until_s),
        )


async def _undecided(base: AsyncDatabase[Any], due: Iterable[str]) -> int:
    wanted = set(due)
    undecided = base.orders.find({"status": "PENDING", "stock": "AWAITING"}, {"_id": 1})
    return sum([str(order["_id"]) in wanted async for order in undecided])


async def _stale(wire: Wire, book: Book, records: Records) -> list[str]:
    """Returns the products that REST shows with another stock than the database's."""
    wrong: list[str] = []
    try:
        for product in book.products:
            shown = await _shown(wire, product)
            if shown != records.stock[product]:
                wrong.append(f"{product} ({shown} for {records.stock[product]})")
    finally:
        wire.close()
    return wrong


async def _shown(wire: Wire, product: str) -> int | None:
    for _ in range(ASK_MAX):
        try:
            answer = await wire.call("GET", f"/api/inventory/{product}")
        except NoAnswer:
            continue
        if answer.status == 200:
            return int(answer.json()["stock"])
        await asyncio.sleep(POLL_S)
    return None


async def _audit(uri: str) -> list[str]:
    async with Store.open(uri, DATABASE) as store:
        report = await verify(store, settled=True)
    return [f"{each.check}: {each.subject} {each.detail}" for each in report.findings]


def _states(records: Records) -> dict[str, int]:
    counted = Counter(f"{order.status} {order.stock}" for order in records.orders.values())
    return dict(sorted(counted.items()))

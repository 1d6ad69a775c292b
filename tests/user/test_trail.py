"""Security events: what is gathered, what is written at once, and what a flood costs."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest

from mercato.kernel import clock
from mercato.kernel.client import Client
from mercato.user.model.trail import FOLDED, KINDS, Kind, SecurityEvent
from mercato.user.usecase.trail import DIFFERENT_MAX, LATE_MAX, Search, Trail

ADA, BOB = "a" * 24, "b" * 24


class MemoryEvents:
    """Keeps events in memory; `away` is a database that does not answer."""

    def __init__(self) -> None:
        self.kept: dict[str, SecurityEvent] = {}
        self.away = False

    async def add(self, events: Sequence[SecurityEvent]) -> None:
        if self.away:
            await asyncio.sleep(60)
        self.kept |= {event.id: event for event in events if event.id not in self.kept}

    async def find(self, search: Search) -> list[SecurityEvent]:
        return list(self.kept.values())


@pytest.fixture
def events() -> MemoryEvents:
    return MemoryEvents()


@pytest.fixture
def trail(events: MemoryEvents, monkeypatch: pytest.MonkeyPatch) -> Trail:
    monkeypatch.setattr("mercato.user.usecase.trail.WRITE_S_MAX", 0.02)
    return Trail(events, clock.now)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FOLDED])
async def test_what_an_account_or_an_admin_does_is_written_at_once(
    trail: Trail, events: MemoryEvents, kind: Kind
) -> None:
    await trail.record(kind, user_id=ADA, actor=f"customer:{ADA}", address="203.0.113.7")
    [event] = events.kept.values()
    assert (event.kind, event.user_id, event.address, event.count) == (
        kind, ADA, "203.0.113.7", 1
    )  # fmt: skip


async def test_what_nobody_gives_an_address_to_has_that_of_the_call(events: MemoryEvents) -> None:
    trail = Trail(events, clock.now, client=lambda: Client("203.0.113.9"))
    await trail.record("password.reset", user_id=ADA)
    await trail.record("session.ended", user_id=ADA, address="203.0.113.7")
    assert [each.address for each in events.kept.values()] == ["203.0.113.9", "203.0.113.7"]


async def test_a_flood_of_one_kind_is_one_event_with_a_number(
    trail: Trail, events: MemoryEvents
) -> None:
    for _ in range(10_000):
        await trail.record("login.failed", user_id=ADA, address="203.0.113.7")
    await trail.record("login.failed", user_id=BOB, address="203.0.113.7")
    assert events.kept == {}
    await trail.flush()
    assert {(e.user_id, e.count) for e in events.kept.values()} == {(ADA, 10_000), (BOB, 1)}


async def test_a_flood_from_everywhere_stays_small_and_loses_no_number(
    trail: Trail, events: MemoryEvents
) -> None:
    for number in range(20_000):
        await trail.record("login.failed", user_id=ADA, address=f"2001:db8::{number:x}")
    await trail.flush()
    assert len(events.kept) == DIFFERENT_MAX + 1
    assert sum(event.count for event in events.kept.values()) == 20_000
    [rest] = [event for event in events.kept.values() if not event.address]
    assert rest.detail == {"note": "too many to tell one by one"}


async def test_while_the_database_is_away_nobody_waits_long_and_nothing_is_lost(
    trail: Trail, events: MemoryEvents
) -> None:
    events.away = True
    async with asyncio.timeout(5):
        await trail.record("password.changed", user_id=ADA)
        await trail.record("login.failed", user_id=ADA)
        await trail.flush()
    assert events.kept == {}
    events.away = False
    await trail.flush()
    assert {event.kind for event in events.kept.values()} == {"password.changed", "login.failed"}


async def test_what_waits_for_the_database_is_bounded(trail: Trail, events: MemoryEvents) -> None:
    events.away = True
    changes = (trail.record("password.changed", user_id=ADA) for _ in range(LATE_MAX + 100))
    await asyncio.gather(*changes)
    events.away = False
    await trail.flush()
    assert len(events.kept) == LATE_MAX


def at() -> datetime:
    return clock.now()


def test_an_event_takes_no_secret_and_no_line_break() -> None:
    detail = {"password": "hunter2-hunter2", "agent": "curl\r\nfake line", "reason": "x" * 5000}
    event = SecurityEvent.new("login.failed", at(), address="1.2.3.4\x1b[2J", detail=detail)
    assert event.detail["password"] == "***"
    assert "\n" not in event.detail["agent"]
    assert "\x1b" not in event.address
    assert len(event.detail["reason"]) == 300


def test_an_event_takes_only_so_many_details_and_only_known_kinds() -> None:
    event = SecurityEvent.new("lockout", at(), detail={f"n{i}": "v" for i in range(100)})
    assert len(event.detail) == 12
    with pytest.raises(ValueError, match="no kind"):
        SecurityEvent.new("lunch", at(), detail={})  # type: ignore[arg-type]


async def test_the_log_is_told_each_event_once(events: MemoryEvents) -> None:
    told: list[SecurityEvent] = []
    trail = Trail(events, clock.now, told.append)
    for _ in range(5):
        await trail.record("lockout", user_id=ADA)
    await trail.record("admin.action", user_id=BOB)
    await trail.flush()
    await trail.flush()
    assert [(event.kind, event.count) for event in told] == [("admin.action", 1), ("lockout", 5)]

"""Folding: many callers, one run, and an answer or an exception for each of them."""

import asyncio
import contextlib
from collections.abc import Sequence
from contextvars import ContextVar

import pymongo
import pytest
from pymongo import _csot

from mercato.kernel.errors import Exhausted, Unavailable
from mercato.platform import fold as module
from mercato.platform.fold import Fold, group_max
from mercato.platform.tasks import Tasks

Results = Sequence[int | Exception]


class Doubling:
    """Doubles numbers; refuses the negative ones; notes the groups; waits where it is told to."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, items: list[int]) -> Results:
        self.groups.append(items)
        await self.go.wait()
        return [ValueError(str(item)) if item < 0 else item * 2 for item in items]


async def test_each_caller_gets_its_own_answer_or_its_own_exception() -> None:
    fold = Fold(Doubling())
    results = await asyncio.gather(*(fold(i - 50) for i in range(100)), return_exceptions=True)
    for item, result in enumerate(results, start=-50):
        if item < 0:
            assert isinstance(result, ValueError)
            assert str(result) == str(item)
        else:
            assert result == item * 2


async def test_a_lonely_call_goes_at_once_and_those_that_wait_go_together() -> None:
    run = Doubling()
    run.go.clear()
    fold = Fold(run, size_max=10)
    calls = [asyncio.ensure_future(fold(i)) for i in range(26)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    run.go.set()
    assert await asyncio.gather(*calls) == [i * 2 for i in range(26)]
    assert all(len(group) <= 10 for group in run.groups)
    assert [item for group in run.groups for item in group] == list(range(26))


async def test_where_some_come_together_a_run_waits_as_long_as_more_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEP_S", 0.05)
    run = Doubling()
    fold = Fold(run, size_max=50, gather_s=10)
    calls = [asyncio.ensure_future(fold(i)) for i in range(2)]
    for i in range(2, 30):
        await asyncio.sleep(0)
        calls.append(asyncio.ensure_future(fold(i)))
    assert await asyncio.gather(*calls) == [i * 2 for i in range(30)]
    assert run.groups == [list(range(30))]


async def test_a_run_waits_neither_when_it_is_full_nor_for_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEP_S", 60)
    fold = Fold(Doubling(), size_max=10, gather_s=60)
    async with asyncio.timeout(5):
        assert await fold(1) == 2
        assert await asyncio.gather(*map(fold, range(20))) == [i * 2 for i in range(20)]


async def test_no_more_runs_are_under_way_than_allowed() -> None:
    most = now = 0

    async def run(items: list[int]) -> Results:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return items

    fold = Fold(run, size_max=2, runs_max=3)
    assert await asyncio.gather(*(fold(i) for i in range(40))) == list(range(40))
    assert most == 3


async def test_more_than_may_wait_is_refused_at_once() -> None:
    run = Doubling()
    run.go.clear()
    fold = Fold(run, size_max=1, waiting_max=3)
    calls = [asyncio.ensure_future(fold(1))]
    await asyncio.sleep(0.01)
    calls += [asyncio.ensure_future(fold(i)) for i in (2, 3, 4)]
    await asyncio.sleep(0.01)
    with pytest.raises(Exhausted):
        await fold(5)
    run.go.set()
    assert await asyncio.gather(*calls) == [2, 4, 6, 8]


async def test_a_caller_that_goes_away_takes_nothing_from_the_others() -> None:
    run = Doubling()
    run.go.clear()
    fold = Fold(run)
    calls = [asyncio.ensure_future(fold(i)) for i in range(5)]
    await asyncio.sleep(0.01)
    calls[0].cancel()
    calls[3].cancel()
    await asyncio.sleep(0)
    run.go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [
        asyncio.CancelledError, int, int, asyncio.CancelledError, int,
    ]  # fmt: skip
    assert sorted(item for group in run.groups for item in group) == list(range(5)), "all are run"


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (RuntimeError("no"), RuntimeError),
        (asyncio.CancelledError(), Unavailable),  # something that the run waited for was cancelled
    ],
)
async def test_a_run_that_fails_is_told_to_all_of_its_group_and_the_next_goes_on(
    failure: BaseException, seen: type[Exception]
) -> None:
    runs = 0

    async def run(items: list[int]) -> Results:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        if runs == 2:
            raise failure
        return items

    fold = Fold(run, size_max=2)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(fold(i) for i in range(6)), return_exceptions=True)
    assert [r for r in results if isinstance(r, int)] == [0, 1, 4, 5]
    assert [type(r) for r in results[2:4]] == [seen, seen]


async def test_a_run_that_answers_too_few_leaves_nobody_waiting() -> None:
    async def run(items: list[int]) -> Results:
        return items[:-1]

    fold = Fold(run)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(fold(i) for i in range(3)), return_exceptions=True)
    assert all(isinstance(result, RuntimeError) for result in results)


whose: ContextVar[str] = ContextVar("whose", default="nobody's")


async def test_a_run_takes_over_no_callers_deadline_and_no_callers_context() -> None:
    async def run(items: list[int]) -> Sequence[str]:
        return [f"{whose.get()} {_csot.get_timeout()}" for _ in items]

    fold = Fold(run)
    whose.set("the first caller's")
    with pymongo.timeout(0.5):
        assert await fold(1) == "nobody's None"


async def test_tasks_are_awaited_at_the_end_and_the_late_ones_cancelled() -> None:
    tasks, ended = Tasks(), []

    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append(seconds)

    quick, slow = tasks.start(work(0.01)), tasks.start(work(60))
    await tasks.drain(0.2)
    assert ended == [0.01]
    assert quick.done()
    assert slow.cancelled()
    assert len(tasks) == 0


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    tasks = Tasks()
    task = tasks.start(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tasks.drain(0)
    assert task.cancelled()


async def test_with_group_max_1_every_call_goes_alone_and_none_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROUP_MAX", "1")
    group_max.cache_clear()
    try:
        run = Doubling()
        run.go.clear()
        fold = Fold(run, size_max=10)
        calls = [asyncio.ensure_future(fold(i)) for i in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert run.groups == [[0], [1], [2], [3], [4]]
        run.go.set()
        assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8]
    finally:
        group_max.cache_clear()

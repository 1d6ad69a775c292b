"""One part under a keeper: what happens when it fails, hangs or will not stop."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mercato.embedded import keeper as keepers
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.keeper import Keeper
from mercato.embedded.part import Part

Answers = Callable[[], Awaitable[bool]]


async def yes() -> bool:
    return True


async def never() -> bool:
    return False


def keeper(
    script: str,
    folder: Path,
    told: list[str] | None = None,
    answers: Answers = yes,
    niceness: int = 0,
) -> Keeper:
    command = ("sh", "-c", script)
    part = Part(name="thing", command=command, ports={}, answers=answers, niceness=niceness)

    def changed(name: str, phase: str, detail: str) -> None:
        if told is not None:
            told.append(f"{phase} {detail}".strip())

    return Keeper(part, folder / "thing.log", [], changed)


@asynccontextmanager
async def keeping(one: Keeper) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.keep())
        yield
        task.cancel()


async def test_a_part_that_never_works_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    failing = keeper("echo the disk is full >&2; exit 7", tmp_path, answers=never)
    with pytest.raises(PlatformError, match="thing does not start: exit code 7") as failure:
        async with asyncio.timeout(10):
            await failing.keep()
    assert "the disk is full" in failure.value.remedy


async def test_a_part_that_is_told_something_wrong_is_not_started_again(tmp_path: Path) -> None:
    failing = keeper("echo CURRENCY is JPY >&2; exit 2", tmp_path, answers=never)
    with pytest.raises(UsageError, match="thing does not start: exit code 2") as failure:
        async with asyncio.timeout(10):
            await failing.keep()
    assert failure.value.remedy.count("CURRENCY is JPY") == 1


async def test_a_part_stands_back_when_it_has_started_and_not_before(tmp_path: Path) -> None:
    def niceness() -> int:
        process = one.state().process
        return os.getpriority(os.PRIO_PROCESS, process.pid) if process else -1

    async def answers() -> bool:
        starting.append(niceness())
        return True

    starting: list[int] = []
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    one = keeper("sleep 60", tmp_path, answers=answers, niceness=ours + 1)
    async with keeping(one):
        await asyncio.wait_for(one.ready.wait(), 10)
        assert (starting, niceness()) == ([ours], ours + 1)


async def test_a_part_that_is_too_slow_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "START_TIMEOUT_S", 0.1)
    told: list[str] = []
    one = keeper("sleep 60", tmp_path, told, answers=never)
    async with keeping(one):
        while one.phase != "restarting":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert told[-1] == "restarting not ready within 0.1 s; starting it again in 0.5 s"


async def test_a_part_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    one = keeper("trap '' TERM; while :; do sleep 1; done", tmp_path)
    async with keeping(one):
        await one.ready.wait()
        await asyncio.sleep(0.3)  # until the trap is set
        began = time.monotonic()
        await one.stop(grace_s=0.5)
        assert 0.5 <= time.monotonic() - began < 3
        assert one.state().process is None


async def test_what_a_dead_part_left_in_its_group_is_killed_with_it(tmp_path: Path) -> None:
    one = keeper(f"(sleep 1; touch {tmp_path}/orphan) & sleep 0.2; exit 1", tmp_path)
    async with keeping(one):
        await one.ready.wait()
        while one.restarts == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await one.stop(grace_s=1)
        await asyncio.sleep(1)
    assert not (tmp_path / "orphan").exists()


async def test_the_pause_before_a_restart_doubles(tmp_path: Path) -> None:
    told: list[str] = []
    one = keeper("sleep 0.2; exit 1", tmp_path, told)

    async with keeping(one):
        await one.ready.wait()
        while one.restarts < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    pauses = [line.split()[-2] for line in told if line.startswith("restarting")]
    assert pauses == ["0.5", "1", "2"]


async def test_a_stop_during_the_pause_before_a_restart_holds(tmp_path: Path) -> None:
    one = keeper("sleep 0.2; exit 1", tmp_path)
    async with keeping(one):
        await one.ready.wait()
        while one.phase != "restarting":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await one.stop(grace_s=1)
        await asyncio.sleep(1)
        assert one.state().phase == "stopped"

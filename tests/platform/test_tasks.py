"""Tasks end when they are told to, even those that miss it the first time."""

import asyncio

import pytest

from mercato.platform.tasks import CANCEL_AGAIN_S, finish, together


class Loop:
    """Works for ever; misses as many cancellations as it is told to, as a driver may."""

    def __init__(self, misses: int = 0) -> None:
        self.misses = misses
        self.ended = False

    async def __call__(self) -> None:
        try:
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if not self.misses:
                        raise
                    self.misses -= 1
        finally:
            self.ended = True


async def test_a_loop_that_misses_its_cancellation_is_cancelled_again() -> None:
    loops = [Loop(), Loop(misses=1)]
    running = asyncio.ensure_future(together(*(each() for each in loops)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(10 * CANCEL_AGAIN_S):
        await asyncio.wait([running])
    assert running.cancelled()
    assert all(each.ended for each in loops)


async def test_the_loop_that_fails_is_heard_and_the_others_end() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    other = Loop(misses=1)
    with pytest.raises(ZeroDivisionError):
        await together(fail(), other())
    assert other.ended


async def test_what_must_finish_does_however_often_its_caller_is_cancelled() -> None:
    done = False

    async def work() -> None:
        nonlocal done
        await asyncio.sleep(0.05)
        done = True

    caller = asyncio.ensure_future(finish(work()))
    for _ in range(3):
        await asyncio.sleep(0.005)
        caller.cancel()
    await asyncio.wait([caller])
    assert done

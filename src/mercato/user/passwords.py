"""Passwords: argon2id in a few threads; what other systems hashed with bcrypt is taken over."""

import asyncio
import contextlib
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from mercato.kernel.errors import Exhausted
from mercato.kernel.password_rules import normal

# OWASP Password Storage Cheat Sheet, argon2id: 19 MiB, two passes, one lane (about 45 ms).
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1

WORKERS: Final = 2
NICENESS: Final = 10  # a flood of logins must not slow down orders
# Whoever stood further back than this would not be served before the deadline.
WAITING_MAX: Final = 64
WAIT_S_MAX: Final = 2.5  # nobody would hear the answer any more
CROWD: Final = 32  # so many strangers waiting are an attack, or might as well be
# In a crowd, for each second that a thread was kept from a core: others have work for all cores.
REST_S: Final = 3.0
REST_S_MAX: Final = 0.5

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords off the event loop, for at most WAITING_MAX at a time."""

    def __init__(self) -> None:
        argon2 = Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._hashes = PasswordHash((argon2, BcryptHasher()))
        self._nobodys = self._hashes.hash(secrets.token_hex())
        self._pool = ThreadPoolExecutor(WORKERS, "passwords", initializer=_stand_back)
        self._busy = 0
        self._lines: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}

    @property
    def crowded(self) -> bool:
        """Whether a stranger's password would be refused now."""
        return len(self._lines[False]) >= WAITING_MAX - WORKERS

    async def hash(self, password: str) -> str:
        """Returns the argon2id hash of `password`; raises Exhausted when too many wait."""
        return await self._work(lambda: self._hashes.hash(normal(password)))

    async def check(
        self, password: str, stored: str | None, *, familiar: bool = False
    ) -> tuple[bool, str | None]:
        """Returns whether `password` fits `stored`, and a better hash of it to store instead.

        None, nobody's hash, takes as long as another and never fits. Who is `familiar` does not
        stand in line with strangers. Raises Exhausted.
        """
        return await self._work(lambda: self._check(password, stored), familiar=familiar)

    def _check(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        right, better = self._fits(normal(password), stored)
        if not right and normal(password) != password:
            # other systems hash what comes; what they took over is made anew in our form
            right, _ = self._fits(password, stored)
            better = self._hashes.hash(normal(password)) if right else None
        return right, better

    def _fits(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        if stored is not None:
            try:
                return self._hashes.verify_and_update(password, stored)
            except (ValueError, PwdlibError):
                pass  # more than bcrypt's 72 bytes, or no hash that we know: it does not fit
        self._hashes.verify(password, self._nobodys)
        return False, None

    async def _work(self, job: Callable[[], T], *, familiar: bool = False) -> T:
        line = self._lines[familiar]
        if len(line) >= WAITING_MAX - WORKERS:
            raise Exhausted("too many passwords are being checked; try again later")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        line.append(turn)
        began, kept_off_s = loop.time(), 0.0
        self._hand_out()
        try:
            await turn
            if loop.time() - began > WAIT_S_MAX:
                raise Exhausted("too many passwords are being checked; try again later")
            result, kept_off_s = await loop.run_in_executor(self._pool, _timed, job)
            return result
        finally:
            if turn.done() and not turn.cancelled():
                crowd = not familiar and len(line) >= CROWD
                rest_s = min(REST_S * kept_off_s, REST_S_MAX) if crowd else 0.0
                loop.call_later(rest_s, self._hand_back)

    def _hand_back(self) -> None:
        self._busy -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives free threads to those who wait; in a crowd strangers get all but one of them."""
        while self._busy < WORKERS and (turn := self._first()) is not None:
            self._busy += 1
            turn.set_result(None)

    def _first(self) -> asyncio.Future[None] | None:
        familiar, strangers = self._lines[True], self._lines[False]
        for line in (familiar, strangers):
            while line and line[0].done():  # somebody who has gone
                line.popleft()
        if familiar:
            return familiar.popleft()
        if strangers and (self._busy < WORKERS - 1 or len(strangers) < CROWD):
            return strangers.popleft()
        return None


def _timed(job: Callable[[], T]) -> tuple[T, float]:
    """Returns what `job` does, and how many seconds it waited instead of working."""
    began, worked = time.monotonic(), time.thread_time()
    result = job()
    return result, time.monotonic() - began - (time.thread_time() - worked)


def _stand_back() -> None:
    """Puts this thread behind all that answer others (on Linux, where threads have priorities)."""
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        niceness = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(niceness, NICENESS))

"""Guesses at passwords: how many an account bears, and why nobody can lock others out.

Failures are counted by login, known or not, so that the answer tells neither. A network from which
the login has succeeded before has a count of its own: whoever guesses from elsewhere uses up what
strangers have, and the owner comes in from home all the same.
"""

import hashlib
import hmac
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from mercato.kernel.client import Client
from mercato.kernel.errors import Exhausted, Violation
from mercato.user.model.account import (
    CurrentPasswordWrong,
    Profile,
    User,
    WrongCredentials,
    normal_email,
    username_key,
)
from mercato.user.usecase.trail import Recorder

# What the trail has of the present password that somebody signed in was asked for.
_BY_SESSION: Final = {"reason": "current_password"}


class TooManyAttempts(Exhausted):
    """The login has failed too often of late, from where the caller is."""


class Failures(Protocol):
    async def take(self, key: str) -> float:
        """Takes one failure of those that `key` bears; returns 0, or how many seconds to wait."""
        ...

    async def give_back(self, key: str) -> None: ...


class Devices(Protocol):
    """Networks from which a login has succeeded, by a hash of both."""

    async def known(self, key: str) -> bool: ...

    async def remember(self, key: str) -> None: ...


class Passwords(Protocol):
    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]: ...


class Attempts:
    """Lets guesses at a login through, until too many have failed."""

    def __init__(
        self,
        failures: Failures,
        devices: Devices,
        trail: Recorder,
        client: Callable[[], Client],
        secret: str,
    ) -> None:
        self._failures = failures
        self._devices = devices
        self._trail = trail
        self._client = client
        self._key = hmac.digest(secret.encode(), b"mercato login attempts", hashlib.sha256)

    async def judge(
        self, login: str, guess: Callable[[bool], Awaitable[Profile]], *, crowded: bool = False
    ) -> Profile:
        """Returns what `guess(whether the network is known)` does; only WrongCredentials count.

        Raises TooManyAttempts, before anything is looked up or hashed; Exhausted for strangers
        while it is `crowded`.
        """
        client = self._client()
        account = self._hash(normal_email(login) if "@" in login else username_key(login))
        device = self._hash(account, client.network)
        known = bool(client.network) and await self._devices.known(device)
        if crowded and not known:
            raise Exhausted("too many passwords are being checked; try again later")
        key = device if known else account
        await self._take(key, detail={"login": account})
        try:
            profile = await guess(known)
        except WrongCredentials as wrong:
            await self._trail.record(
                "login.failed", user_id=wrong.user_id, address=client.address,
                detail={"login": account},
            )  # fmt: skip
            raise
        except Exception:
            await self._failures.give_back(key)
            raise
        await self._failures.give_back(key)
        if client.network and not known:
            await self._devices.remember(device)
        await self._trail.record("login.succeeded", user_id=profile.id, address=client.address)
        return profile

    async def insist(
        self, passwords: Passwords, user: User, given: str | None, field: str, *further: Violation
    ) -> str:
        """Returns the hash that `given`, sent as `field` by who is signed in, fits.

        A thief of a session may guess as often as a stranger. Raises CurrentPasswordWrong, which
        tells `further` faults too, TooManyAttempts, Exhausted.
        """
        detail = "must be your present password"
        wrong = CurrentPasswordWrong(f"{field} {detail}", [Violation(field, detail), *further])
        if given is None:
            raise wrong
        key, who = self._hash("signed in", user.profile.id), user.profile.id
        await self._take(key, user_id=who, detail=_BY_SESSION)
        try:
            right, _ = await passwords.check(given, user.password_hash)
        except Exception:
            await self._failures.give_back(key)
            raise
        if not right:
            await self._trail.record("login.failed", user_id=who, detail=_BY_SESSION)
            raise wrong
        await self._failures.give_back(key)
        return user.password_hash

    async def _take(self, key: str, *, user_id: str = "", detail: Mapping[str, str]) -> None:
        """Takes one failure; before the guess, or a thousand at once would all find room."""
        if wait_s := await self._failures.take(key):
            seconds = math.ceil(wait_s)
            await self._trail.record("lockout", user_id=user_id, detail=detail)
            told = f"too many attempts; try again in {seconds} s"
            raise TooManyAttempts(told, retry_after_s=seconds)

    def _hash(self, *parts: str) -> str:
        return hmac.digest(self._key, "\n".join(parts).encode(), hashlib.sha256).hex()[:32]

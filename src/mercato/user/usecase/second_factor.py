"""The optional second factor: turned on, asked for at the sign-in, turned off."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from mercato.kernel.identity import Caller
from mercato.user.model.account import User
from mercato.user.model.links import hash_of
from mercato.user.model.second_factor import (
    OtpRequired,
    OtpWrong,
    Proof,
    TooManyCodes,
    as_shown,
    code_wrong,
    recovery_codes,
)
from mercato.user.model.trail import Kind
from mercato.user.usecase.attempts import Attempts, Passwords
from mercato.user.usecase.trail import Recorder

# What the trail has of wrong codes, beside those of wrong passwords.
_BY_CODE: Final = {"reason": "otp"}


class Users(Protocol):
    async def get(self, user_id: str) -> User: ...

    async def update(self, user_id: str, change: Callable[[User], None]) -> User: ...


class Authenticators(Protocol):
    """What makes the secrets that authenticators hold, seals them, and knows their codes."""

    def new(self, user_id: str) -> tuple[str, str]:
        """Returns a new secret: as base32, and sealed for keeping."""
        ...

    def uri(self, secret: str, email: str) -> str: ...

    def step(self, sealed: str, user_id: str, code: str, now: datetime) -> int | None:
        """Returns the time step, of those around `now`, whose code `code` is."""
        ...


class SecondFactors:
    """A code proves a second factor once: neither a step nor a recovery code is taken again."""

    def __init__(
        self,
        users: Users,
        passwords: Passwords,
        attempts: Attempts,
        authenticators: Authenticators,
        trail: Recorder,
        clock: Callable[[], datetime],
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._attempts = attempts
        self._authenticators = authenticators
        self._trail = trail
        self._clock = clock

    async def admit(self, user: User, otp: str) -> None:
        """Lets a user go on whose password was right.

        Raises OtpRequired, OtpWrong or TooManyCodes when the account has a second factor.
        """
        if user.factor is None or not user.factor.confirmed:
            return
        if not otp:
            raise OtpRequired("give the code of your authenticator too, as `otp`")
        if not await self._prove(user, otp, User.prove):
            await self._trail.record("login.failed", user_id=user.profile.id, detail=_BY_CODE)
            raise OtpWrong("the code is wrong, too old, or was used before")

    async def begin(self, asking: Caller, password: str) -> tuple[str, str]:
        """Returns the secret and the otpauth URI of a second factor that is not yet on.

        Raises CurrentPasswordWrong, TooManyAttempts, SecondFactorOn.
        """
        user = await self._users.get(asking.id)
        await self._attempts.insist(self._passwords, user, password, "password")
        secret, sealed = self._authenticators.new(asking.id)
        await self._users.update(asking.id, lambda user: user.begin_factor(sealed))
        return secret, self._authenticators.uri(secret, user.profile.email)

    async def confirm(self, asking: Caller, code: str) -> list[str]:
        """Turns the second factor on; returns its recovery codes, which nobody can show again.

        Raises CodeWrong, NoSecondFactor, SecondFactorOn, TooManyCodes.
        """
        codes = recovery_codes()
        hashes = [hash_of(each) for each in codes]
        user = await self._users.get(asking.id)

        def confirm(user: User, proof: Proof, now: datetime) -> bool:
            return user.confirm_factor(proof, hashes, now)

        await self._insist(user, code, confirm)
        await self._record("totp.enabled", asking)
        return codes

    async def end(self, asking: Caller, password: str, code: str) -> None:
        """Turns the second factor off.

        Raises CurrentPasswordWrong, TooManyAttempts, CodeWrong, NoSecondFactor, TooManyCodes.
        """
        user = await self._users.get(asking.id)
        await self._attempts.insist(self._passwords, user, password, "password")
        await self._insist(user, code, User.end_factor)
        await self._record("totp.disabled", asking)

    async def _insist(self, user: User, code: str, verb: "Verb") -> None:
        if not await self._prove(user, code, verb):
            raise code_wrong()

    async def _prove(self, user: User, code: str, verb: "Verb") -> bool:
        """Returns whether `verb` took `code`; a failure is counted with the account."""
        now, code, step = self._clock(), as_shown(code), None
        if user.factor is not None:
            step = self._authenticators.step(user.factor.sealed, user.profile.id, code, now)
        proof, holds = Proof(step, hash_of(code)), False

        def prove(user: User) -> None:
            nonlocal holds
            holds = verb(user, proof, now)

        try:
            await self._users.update(user.profile.id, prove)
        except TooManyCodes:
            await self._trail.record("lockout", user_id=user.profile.id, detail=_BY_CODE)
            raise
        return holds

    async def _record(self, kind: Kind, asking: Caller) -> None:
        await self._trail.record(kind, user_id=asking.id, actor=str(asking))


Verb = Callable[[User, Proof, datetime], bool]

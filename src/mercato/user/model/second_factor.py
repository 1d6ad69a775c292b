"""The optional second factor: codes of an authenticator (RFC 6238), and codes for its loss."""

import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from mercato.kernel.errors import Conflict, Exhausted, Invalid, Unauthenticated, Violation

RECOVERY_CODES: Final = 10
_SYLLABLES: Final = 4
_SYLLABLE_LENGTH: Final = 6
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"  # no `l`, `o`, 0, 1: 5 bits each

# Five guesses each quarter of an hour hit one of the moment's three codes once in two years.
FAILURES_MAX: Final = 5
PAUSE: Final = timedelta(minutes=15)


class OtpRequired(Unauthenticated):
    """The password is right, and the account wants a code beside it."""


class OtpWrong(Unauthenticated):
    """The password is right, and the code is not, or was used before."""


class TooManyCodes(Exhausted):
    """So many wrong codes that the next ones are not looked at for a while."""


class CodeWrong(Invalid):
    """What was to be proved by a code was not."""


class SecondFactorOn(Conflict):
    """The account has a second factor already."""


class NoSecondFactor(Conflict):
    """The account has no second factor, or none to confirm."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a code may be: the time step whose code it is, if any, and its hash."""

    step: int | None
    code_hash: str


@dataclass(frozen=True, slots=True)
class Factor:
    """An authenticator's sealed secret, the hashes of the recovery codes, and what was tried."""

    sealed: str = field(repr=False)
    recovery: tuple[str, ...] = field(default=(), repr=False)
    confirmed: bool = False
    step: int = 0  # the last that was accepted: it and those before it never are again
    failures: int = 0
    failed_at: datetime | None = None

    def tried(self, proof: Proof, now: datetime) -> tuple[bool, "Factor"]:
        """Returns whether `proof` holds, and the factor after it; raises TooManyCodes."""
        failures = self.failures
        if self.failed_at is None or now >= self.failed_at + PAUSE:
            failures = 0
        if failures >= FAILURES_MAX:
            raise TooManyCodes("too many wrong codes; wait a quarter of an hour")
        if proof.step is not None and proof.step > self.step:
            return True, replace(self, step=proof.step, failures=0, failed_at=None)
        if proof.code_hash in self.recovery:
            left = tuple(each for each in self.recovery if each != proof.code_hash)
            return True, replace(self, recovery=left, failures=0, failed_at=None)
        # the pause counts from the first failure: trying on does not make it longer
        since = self.failed_at if failures else now
        return False, replace(self, failures=failures + 1, failed_at=since)


def recovery_codes() -> list[str]:
    """Returns new codes of 120 bits, so that a plain SHA-256 of each may be kept."""
    return [
        "-".join(
            "".join(secrets.choice(_ALPHABET) for _ in range(_SYLLABLE_LENGTH))
            for _ in range(_SYLLABLES)
        )
        for _ in range(RECOVERY_CODES)
    ]


def as_shown(typed: str) -> str:
    """Returns a code as it was shown, however its spaces, dashes and capitals were typed."""
    code = re.sub(r"[\s-]", "", typed).lower()
    if len(code) != _SYLLABLES * _SYLLABLE_LENGTH:
        return code
    return "-".join(
        code[at : at + _SYLLABLE_LENGTH] for at in range(0, len(code), _SYLLABLE_LENGTH)
    )


def code_wrong() -> CodeWrong:
    detail = "must be the present code of your authenticator, not used before"
    return CodeWrong(f"code {detail}", [Violation("code", detail)])

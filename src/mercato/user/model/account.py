"""An account: who somebody is to the shop, and what proves it."""

import re
import secrets
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from mercato.kernel.errors import (
    Conflict,
    Invalid,
    NotFound,
    Stale,
    Unauthenticated,
    Violation,
)
from mercato.kernel.identity import Caller, new_id

UserRole = Literal["customer", "admin"]

USERNAME_LENGTH_MIN = 3
USERNAME_LENGTH_MAX = 32
USERNAME_FALLBACK = "user"

# The operator's own command line, which makes the first admin of all.
OPERATOR = Caller("cli", "service")


class EmailTaken(Conflict):
    """Another account has this e-mail address."""


class UsernameTaken(Conflict):
    """Another account has this username."""


class UserNotFound(NotFound):
    """There is no such account, or it is somebody else's."""


class WrongCredentials(Unauthenticated):
    """Nobody has this login, or another password; which of the two is not told."""


class CurrentPasswordWrong(Invalid):
    """A new password needs the present one."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What may be shown of an account; `version` counts its changes from 1."""

    id: str
    username: str
    email: str
    role: UserRole
    created_at: datetime
    version: int = 1
    email_verified: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to become of an account; None leaves a thing as it is.

    `proven_hash` is the hash that the caller's present password was checked against, None for
    those who need no proof.
    """

    username: str | None = None
    email: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    proven_hash: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class User:
    """An account: the profile, and beside it the hash that no profile ever holds."""

    profile: Profile
    password_hash: str = field(repr=False)

    @classmethod
    def new(
        cls, email: str, username: str, role: UserRole, password_hash: str, now: datetime
    ) -> "User":
        return cls(Profile(new_id(), username, normal_email(email), role, now), password_hash)

    def edit(self, wish: Edit) -> None:
        """Applies `wish`; one that changes nothing leaves the version alone.

        Raises Stale when the password is not the proven one any more.
        """
        if wish.proven_hash not in (None, self.password_hash):
            raise Stale("the password was changed meanwhile")
        now = self.profile
        email = now.email if wish.email is None else normal_email(wish.email)
        after = replace(now, username=wish.username or now.username, email=email)
        password_hash = wish.password_hash or self.password_hash
        if (after, password_hash) != (now, self.password_hash):
            self.profile = replace(after, version=now.version + 1)
            self.password_hash = password_hash


def normal_email(email: str) -> str:
    """Returns the one form in which an address is kept, compared and shown."""
    return unicodedata.normalize("NFC", email).lower()


def username_key(username: str) -> str:
    """Returns what makes two usernames the same one."""
    return unicodedata.normalize("NFC", username).lower()


def username_from(email: str) -> str:
    """Returns a username for an account that was given none: the address's local part."""
    allowed = re.sub(r"[^A-Za-z0-9_.-]", "", email.partition("@")[0])
    name = re.sub(r"^[^A-Za-z0-9]+", "", allowed)[:USERNAME_LENGTH_MAX]
    return name if len(name) >= USERNAME_LENGTH_MIN else USERNAME_FALLBACK


def another(username: str) -> str:
    """Returns `username` with a suffix that nobody is likely to have."""
    suffix = f"-{secrets.token_hex(3)}"
    return username[: USERNAME_LENGTH_MAX - len(suffix)] + suffix


def taken(*, email: bool, username: bool) -> Conflict:
    """Returns the refusal that names each of the fields that another account has."""
    violations = []
    if email:
        violations.append(Violation("email", "another account has this e-mail address"))
    if username:
        violations.append(Violation("username", "another account has this username"))
    if not violations:  # whoever had it gave it up a moment ago
        return Conflict("another account was in the way; try again")
    kind = EmailTaken if email else UsernameTaken
    return kind(" and ".join(violation.detail for violation in violations), violations)

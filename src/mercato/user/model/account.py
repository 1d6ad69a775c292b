"""An account: who somebody is to the shop, and what proves it."""

import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from mercato.kernel.errors import (
    Conflict,
    Invalid,
    NotFound,
    Stale,
    Unauthenticated,
    Violation,
)
from mercato.kernel.identity import Caller, new_id
from mercato.user.model.letters import LETTER_OF, Letter, Template
from mercato.user.model.links import (
    PAUSE,
    AskedTooSoon,
    Link,
    Purpose,
    Ticket,
    invalid_link,
)
from mercato.user.model.second_factor import Factor, NoSecondFactor, Proof, SecondFactorOn

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
    """Nobody has this login, or another password; which of the two is not told.

    `user_id` is for the trail of security events, and goes nowhere else.
    """

    def __init__(self, detail: str, user_id: str = "") -> None:
        super().__init__(detail)
        self.user_id = user_id


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
    those who need no proof. `ticket` is the link that another address is to be verified by; with
    `late` the address is another one only from then on.
    """

    username: str | None = None
    email: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    proven_hash: str | None = field(default=None, repr=False)
    ticket: Ticket | None = None
    late: bool = False


@dataclass(slots=True)
class User:
    """An account: the profile, and beside it what no profile ever holds.

    `letters` are the mails that its changes call for; they go out with the change.
    """

    profile: Profile
    password_hash: str = field(repr=False)
    links: dict[Purpose, Link] = field(default_factory=dict)
    factor: Factor | None = None
    letters: list[Letter] = field(default_factory=list, compare=False)

    @classmethod
    def new(
        cls,
        email: str,
        username: str,
        role: UserRole,
        password_hash: str,
        now: datetime,
        ticket: Ticket | None = None,
    ) -> "User":
        """Returns a new account, to be welcomed by a mail with the link of `ticket`.

        Without one the address needs no verification: whoever registers it vouches for it.
        """
        profile = Profile(
            new_id(), username, normal_email(email), role, now, email_verified=ticket is None
        )
        user = cls(profile, password_hash)
        if ticket is None:
            user._write(Template.WELCOME)
        else:
            user._link(Purpose.VERIFY, ticket, Template.WELCOME)
        return user

    def edit(self, wish: Edit) -> None:
        """Applies `wish`; one that changes nothing leaves the version alone.

        Another e-mail address or password voids every link. Raises Stale when the password is not
        the proven one any more.
        """
        if wish.proven_hash not in (None, self.password_hash):
            raise Stale("the password was changed meanwhile")
        before = self.profile, self.password_hash
        if wish.username and wish.username != self.profile.username:
            self._become(username=wish.username)
        if wish.password_hash is not None and wish.password_hash != self.password_hash:
            self._set_password(wish.password_hash)
        email = self.profile.email if wish.email is None else normal_email(wish.email)
        if email != self.profile.email:
            if not wish.late:
                self._move_to(email)
            if wish.ticket is not None:
                self._link(Purpose.VERIFY, wish.ticket, Template.VERIFY_EMAIL, email)
        self._count(*before)

    def ask(self, purpose: Purpose, ticket: Ticket, template: Template | None = None) -> None:
        """Has a link mailed, which replaces the one before it; raises AskedTooSoon."""
        before = self.links.get(purpose)
        if before is not None and ticket.at < before.at + PAUSE:
            raise AskedTooSoon("such a mail went out a moment ago; look for it, or ask again later")
        self._link(purpose, ticket, template or LETTER_OF[purpose])

    def verify(self, token_hash: str, now: datetime) -> None:
        """Takes the link's word that its address is read by the account's owner.

        Raises InvalidLink.
        """
        link = self._spend(Purpose.VERIFY, token_hash, now)
        before = self.profile, self.password_hash
        if link.email != self.profile.email:
            self._move_to(link.email)
        self._become(email_verified=True)
        self._count(*before)

    def reset(self, token_hash: str, password_hash: str, now: datetime) -> bool:
        """Sets the password of whoever holds the link; raises InvalidLink.

        A second factor of an account whose address nobody had verified goes, and whether one did
        is returned: it may be that of a stranger who registered with somebody else's address.
        """
        self._spend(Purpose.RESET, token_hash, now)
        before = self.profile, self.password_hash
        unprotected = False
        if not self.profile.email_verified:
            unprotected = self.factor is not None and self.factor.confirmed
            self.factor = None
        self._set_password(password_hash)
        if unprotected:
            self._write(Template.SECOND_FACTOR_OFF)
        self._become(email_verified=True)
        self._count(*before)
        return unprotected

    def begin_factor(self, sealed: str) -> None:
        """Sets the secret of a second factor that is not confirmed yet; raises SecondFactorOn."""
        if self.factor is not None and self.factor.confirmed:
            raise SecondFactorOn("there is a second factor already; end it first")
        self.factor = Factor(sealed)

    def confirm_factor(self, proof: Proof, recovery: Sequence[str], now: datetime) -> bool:
        """Turns the second factor on when `proof` holds, which it returns.

        Raises NoSecondFactor, SecondFactorOn, TooManyCodes.
        """
        if self.factor is None:
            raise NoSecondFactor("there is no second factor to confirm: begin one")
        if self.factor.confirmed:
            raise SecondFactorOn("the second factor is on already")
        holds, self.factor = self.factor.tried(proof, now)
        if holds:
            self.factor = replace(self.factor, confirmed=True, recovery=tuple(recovery))
            self._write(Template.SECOND_FACTOR_ON)
        return holds

    def end_factor(self, proof: Proof, now: datetime) -> bool:
        """Turns the second factor off when `proof` holds, which it returns; raises as `prove`."""
        holds = self.prove(proof, now)
        if holds:
            self.factor = None
            self._write(Template.SECOND_FACTOR_OFF)
        return holds

    def prove(self, proof: Proof, now: datetime) -> bool:
        """Returns whether `proof` holds, and uses it up; raises NoSecondFactor, TooManyCodes."""
        if self.factor is None or not self.factor.confirmed:
            raise NoSecondFactor("there is no second factor")
        holds, self.factor = self.factor.tried(proof, now)
        return holds

    def _become(self, **changes: Any) -> None:
        self.profile = replace(self.profile, **changes)

    def _count(self, profile: Profile, password_hash: str) -> None:
        if (profile, password_hash) != (self.profile, self.password_hash):
            self.profile = replace(self.profile, version=profile.version + 1)

    def _move_to(self, email: str) -> None:
        self.links.clear()
        self._write(Template.EMAIL_CHANGED)  # to the old address
        self._become(email=email, email_verified=False)

    def _set_password(self, password_hash: str) -> None:
        self.links.clear()
        self.password_hash = password_hash
        self._write(Template.PASSWORD_CHANGED)

    def _link(self, purpose: Purpose, ticket: Ticket, letter: Template, email: str = "") -> None:
        to = email or self.profile.email
        self.links[purpose] = Link(purpose, ticket.token_hash, ticket.at, to)
        self.letters.append(Letter(letter, to, ticket.request))

    def _spend(self, purpose: Purpose, token_hash: str, now: datetime) -> Link:
        link = self.links.get(purpose)
        if link is None or not link.opens(token_hash, now):
            raise invalid_link()
        return self.links.pop(purpose)

    def _write(self, template: Template) -> None:
        self.letters.append(Letter(template, self.profile.email))


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

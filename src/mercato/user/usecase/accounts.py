"""What can be done with accounts, and by whom."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from mercato.kernel.errors import Forbidden, Invalid, Violation
from mercato.kernel.identity import Caller
from mercato.kernel.password_rules import PasswordRules
from mercato.user.model.account import (
    OPERATOR,
    USERNAME_FALLBACK,
    Edit,
    EmailTaken,
    Profile,
    User,
    UsernameTaken,
    UserNotFound,
    UserRole,
    WrongCredentials,
    another,
    normal_email,
    taken,
    username_from,
)
from mercato.user.model.letters import Template
from mercato.user.model.links import AskedTooSoon, LinkKey, Purpose
from mercato.user.usecase.attempts import Attempts
from mercato.user.usecase.second_factor import SecondFactors
from mercato.user.usecase.trail import Recorder

# A private registration is answered after so long, whatever it found.
PRIVATE_ANSWER_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody registers with; an empty username is made from the e-mail."""

    email: str
    password: str = field(repr=False)
    username: str = ""
    role: UserRole = "customer"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to be changed; None leaves a thing as it is."""

    username: str | None = None
    email: str | None = None
    password: str | None = field(default=None, repr=False)
    current_password: str | None = field(default=None, repr=False)


class Users(Protocol):
    async def add(self, user: User) -> None:
        """Adds `user` and what is told of it; raises EmailTaken, UsernameTaken."""
        ...

    async def get(self, user_id: str) -> User: ...

    async def by_login(self, login: str) -> User | None: ...

    async def profiles(self, ids: Sequence[str]) -> Mapping[str, Profile]: ...

    async def update(self, user_id: str, change: Callable[[User], None]) -> User:
        """Applies `change` in a transaction; raises UserNotFound, EmailTaken, UsernameTaken."""
        ...

    async def rehash(self, user: User, password_hash: str) -> None: ...


class Passwords(Protocol):
    @property
    def crowded(self) -> bool: ...

    async def hash(self, password: str) -> str: ...

    async def check(
        self, password: str, stored: str | None, *, familiar: bool = False
    ) -> tuple[bool, str | None]: ...


class Sessions(Protocol):
    async def end_all(self, user_id: str, *, but: str = "") -> object: ...


class Accounts:
    """The verbs. Whoever asks for somebody else's account finds none.

    With `private` nobody learns from it who has an account: a registration is answered alike
    whether or not the address is known, its owner hears of it by mail, nobody signs in before the
    address is verified, and another address becomes an account's when its link is used.
    """

    def __init__(
        self,
        users: Users,
        passwords: Passwords,
        clock: Callable[[], datetime],
        *,
        rules: PasswordRules,
        links: LinkKey,
        factors: SecondFactors,
        sessions: Sessions,
        trail: Recorder,
        attempts: Attempts,
        private: bool = False,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._clock = clock
        self._rules = rules
        self._links = links
        self._factors = factors
        self._sessions = sessions
        self._trail = trail
        self._attempts = attempts
        self._private = private

    async def register(self, wish: Registration, asking: Caller) -> Profile:
        """Returns the new account's profile; in private, perhaps one that is nobody's.

        Raises Forbidden for an admin that the caller may not appoint, PasswordTooCommon,
        EmailTaken, UsernameTaken, Exhausted.
        """
        if wish.role == "admin" and not (asking.role == "admin" or asking == OPERATOR):
            raise Forbidden("only an admin may appoint an admin")
        self._rules.check(wish.password, wish.email, wish.username)
        if self._private and asking != OPERATOR and asking.role != "admin":
            work = self._register_privately(wish)
            profile, _ = await asyncio.gather(work, asyncio.sleep(PRIVATE_ANSWER_S))
            return profile
        password_hash = await self._passwords.hash(wish.password)
        vouched = asking == OPERATOR
        username = wish.username or username_from(wish.email)
        while True:
            user = self._new(wish, username, password_hash, vouched=vouched)
            try:
                await self._users.add(user)
            except EmailTaken:
                if wish.username:
                    raise
                raise taken(email=True, username=False) from None
            except UsernameTaken:
                if wish.username:
                    raise
                username = another(username_from(wish.email))
            else:
                return user.profile

    def _new(self, wish: Registration, username: str, password_hash: str, *, vouched: bool) -> User:
        now = self._clock()
        ticket = None if vouched else self._links.ticket(now)
        return User.new(wish.email, username, wish.role, password_hash, now, ticket)

    async def _register_privately(self, wish: Registration) -> Profile:
        password_hash = await self._passwords.hash(wish.password)
        # a username of one's choice could be asked for elsewhere, to see whether it was given
        user = self._new(wish, another(USERNAME_FALLBACK), password_hash, vouched=False)
        known = await self._users.by_login(user.profile.email)
        if known is None:
            try:
                await self._users.add(user)
            except EmailTaken:
                known = await self._users.by_login(user.profile.email)
        if known is not None:
            await self._tell_owner(known)
        return user.profile

    async def _tell_owner(self, known: User) -> None:
        """Tells who has an address that somebody else wanted it, with a way back in."""
        ticket = self._links.ticket(self._clock())
        with contextlib.suppress(AskedTooSoon):
            await self._users.update(
                known.profile.id,
                lambda user: user.ask(Purpose.RESET, ticket, Template.ALREADY_REGISTERED),
            )

    async def authenticate(self, login: str, password: str, otp: str = "") -> Profile:
        """Returns who `login` (an e-mail address or a username) is.

        Raises WrongCredentials, the same and after the same work whether the login is known or
        not; TooManyAttempts, alike for both; Invalid without a login; Exhausted. With a second
        factor, and after the right password only: OtpRequired, OtpWrong, TooManyCodes.
        """
        if not login:
            raise Invalid("who is it?", [Violation("email", "give an e-mail or a username")])
        return await self._attempts.judge(
            login, partial(self._guess, login, password, otp), crowded=self._passwords.crowded
        )

    async def _guess(self, login: str, password: str, otp: str, familiar: bool) -> Profile:
        user = await self._users.by_login(login)
        stored = None if user is None else user.password_hash
        right, better = await self._passwords.check(password, stored, familiar=familiar)
        if user is None or not right or (self._private and not user.profile.email_verified):
            known = "" if user is None else user.profile.id
            raise WrongCredentials("the login or the password is wrong", known)
        if better is not None:
            await self._users.rehash(user, better)
        await self._factors.admit(user, otp)
        present = await self._users.get(user.profile.id)
        changed = present.profile.version != user.profile.version
        if changed and present.password_hash not in (user.password_hash, better):
            # it waited for its turn, and the sessions that a new password ends have been ended
            raise WrongCredentials("the login or the password is wrong", user.profile.id)
        return present.profile

    async def profile(self, user_id: str, asking: Caller) -> Profile:
        """Returns the profile; raises UserNotFound."""
        found = await self._users.profiles([user_id]) if asking.owns(user_id) else {}
        if user_id not in found:
            raise UserNotFound("there is no such user")
        return found[user_id]

    async def profiles(self, ids: Sequence[str]) -> list[Profile]:
        """Returns those of `ids` that there are; for services, which may see everybody's."""
        return list((await self._users.profiles(ids)).values())

    async def update(self, user_id: str, wish: Wish, asking: Caller) -> Profile:
        """Returns the changed profile; a new password ends the account's other sessions.

        One's own new password, and in private another address, needs the present password.
        Raises UserNotFound, CurrentPasswordWrong, TooManyAttempts, PasswordTooCommon, EmailTaken,
        UsernameTaken, Exhausted, and Stale when another change of the password came in between.
        """
        if not asking.owns(user_id):
            raise UserNotFound("there is no such user")
        password_hash = proven_hash = None
        user = await self._users.get(user_id)
        delicate = wish.password is not None or (self._private and wish.email is not None)
        about = (user.profile.email, user.profile.username, wish.email or "", wish.username or "")
        if delicate and asking.id == user_id:
            proven_hash = await self._attempts.insist(
                self._passwords, user, wish.current_password, "current_password",
                *self._rules.violations(wish.password or "", *about),
            )  # fmt: skip
        if wish.password is not None:
            self._rules.check(wish.password, *about)
            password_hash = await self._passwords.hash(wish.password)
        edit = Edit(wish.username, wish.email, password_hash, proven_hash)
        if wish.email is not None:
            edit = await self._moving(edit, user_id, wish.email, asking)
        changed = (await self._users.update(user_id, lambda user: user.edit(edit))).profile
        if password_hash is not None:
            await self._sessions.end_all(user_id, but=asking.session)
            await self._trail.record("password.changed", user_id=user_id, actor=str(asking))
        return changed

    async def renew(self, email: str, password: str, former: Iterable[str]) -> None:
        """Sets `password` where the account still has one of the `former` ones."""
        user = await self._users.by_login(normal_email(email))
        if user is None:
            return
        for each in former:
            right, _ = await self._passwords.check(each, user.password_hash)
            if right:
                await self.update(user.profile.id, Wish(password=password), OPERATOR)
                return

    async def _moving(self, edit: Edit, user_id: str, email: str, asking: Caller) -> Edit:
        """Returns `edit` with the link that the address is to be verified by.

        In private an address that another account has is asked for in vain, and only its owner
        hears of it.
        """
        edit = replace(edit, ticket=self._links.ticket(self._clock()))
        if not self._private or asking.role == "admin":
            return edit
        known = await self._users.by_login(normal_email(email))
        if known is None or known.profile.id == user_id:
            return replace(edit, late=True)
        await self._tell_owner(known)
        return replace(edit, email=None, ticket=None)

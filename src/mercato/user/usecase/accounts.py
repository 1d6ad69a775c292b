"""What can be done with accounts, and by whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from mercato.kernel.errors import Forbidden, Invalid, Violation
from mercato.kernel.identity import Caller
from mercato.user.model import (
    OPERATOR,
    CurrentPasswordWrong,
    Edit,
    EmailTaken,
    Profile,
    User,
    UsernameTaken,
    UserNotFound,
    UserRole,
    WrongCredentials,
    another,
    taken,
    username_from,
)


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
    async def hash(self, password: str) -> str: ...

    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]: ...


class Accounts:
    """The verbs. Whoever asks for somebody else's account finds none."""

    def __init__(self, users: Users, passwords: Passwords, clock: Callable[[], datetime]) -> None:
        self._users = users
        self._passwords = passwords
        self._clock = clock

    async def register(self, wish: Registration, asking: Caller) -> Profile:
        """Returns the new account's profile.

        Raises Forbidden for an admin that the caller may not appoint, EmailTaken, UsernameTaken,
        Exhausted.
        """
        if wish.role == "admin" and not (asking.role == "admin" or asking == OPERATOR):
            raise Forbidden("only an admin may appoint an admin")
        password_hash = await self._passwords.hash(wish.password)
        username = wish.username or username_from(wish.email)
        while True:
            user = User.new(wish.email, username, wish.role, password_hash, self._clock())
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

    async def authenticate(self, login: str, password: str) -> Profile:
        """Returns who `login` (an e-mail address or a username) is.

        Raises WrongCredentials, the same and after the same work whether the login is known or
        not; Invalid without a login; Exhausted.
        """
        if not login:
            raise Invalid("who is it?", [Violation("email", "give an e-mail or a username")])
        user = await self._users.by_login(login)
        stored = None if user is None else user.password_hash
        right, better = await self._passwords.check(password, stored)
        if user is None or not right:
            raise WrongCredentials("the login or the password is wrong")
        if better is not None:
            await self._users.rehash(user, better)
        return user.profile

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
        """Returns the changed profile.

        Raises UserNotFound, CurrentPasswordWrong, EmailTaken, UsernameTaken, Exhausted, and Stale
        when another change of the password came in between.
        """
        if not asking.owns(user_id):
            raise UserNotFound("there is no such user")
        password_hash = proven_hash = None
        if wish.password is not None:
            if asking.id == user_id:
                proven_hash = await self._proven(user_id, wish.current_password)
            password_hash = await self._passwords.hash(wish.password)
        edit = Edit(wish.username, wish.email, password_hash, proven_hash)
        return (await self._users.update(user_id, lambda user: user.edit(edit))).profile

    async def _proven(self, user_id: str, current_password: str | None) -> str:
        """Returns the hash that `current_password` fits; raises CurrentPasswordWrong."""
        user = await self._users.get(user_id)
        right = False
        if current_password is not None:
            right, _ = await self._passwords.check(current_password, user.password_hash)
        if not right:
            detail = "must be your present password"
            violation = Violation("current_password", detail)
            raise CurrentPasswordWrong(f"current_password {detail}", [violation])
        return user.password_hash

"""Mailed links: an address is verified, and a lost password is set anew."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from mercato.kernel.errors import Conflict, Violation
from mercato.kernel.identity import Caller
from mercato.kernel.password_rules import PasswordRules
from mercato.user.model.account import User, normal_email
from mercato.user.model.links import AskedTooSoon, LinkKey, Purpose, hash_of, invalid_link
from mercato.user.usecase.accounts import Passwords, Sessions
from mercato.user.usecase.trail import Recorder


class AlreadyVerified(Conflict):
    """The account's address needs no link any more."""


class Users(Protocol):
    async def by_login(self, login: str) -> User | None: ...

    async def by_link(self, token_hash: str) -> User | None:
        """Returns whose link has this token."""
        ...

    async def update(self, user_id: str, change: Callable[[User], None]) -> User: ...

    async def note_forgotten(self, email: str) -> None:
        """Notes, durably, that somebody wants a new password for `email`."""
        ...


class Recovery:
    """Who holds a link's token is the one who reads the account's mail."""

    def __init__(
        self,
        users: Users,
        passwords: Passwords,
        clock: Callable[[], datetime],
        *,
        rules: PasswordRules,
        links: LinkKey,
        sessions: Sessions,
        trail: Recorder,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._clock = clock
        self._rules = rules
        self._links = links
        self._sessions = sessions
        self._trail = trail

    async def verify(self, token: str) -> None:
        """Takes the account's address for verified; raises InvalidLink."""
        token_hash = hash_of(token)
        user = await self._holder(token_hash)
        now = self._clock()
        await self._users.update(user.profile.id, lambda user: user.verify(token_hash, now))

    async def resend(self, asking: Caller) -> None:
        """Mails a new link, for which the one before is void.

        Raises AlreadyVerified, AskedTooSoon.
        """
        ticket = self._links.ticket(self._clock())

        def ask(user: User) -> None:
            if user.profile.email_verified:
                raise AlreadyVerified("the e-mail address is verified already")
            user.ask(Purpose.VERIFY, ticket)

        await self._users.update(asking.id, ask)

    async def forgotten(self, email: str) -> None:
        """Notes that somebody wants a link for a new password; nothing is looked up yet.

        So the answer is the same, and takes as long, whether or not there is an account.
        """
        await self._users.note_forgotten(normal_email(email))

    async def answer(self, email: str) -> None:
        """Mails the link that was asked for, if `email` is somebody's."""
        user = await self._users.by_login(email)
        if user is not None:
            ticket = self._links.ticket(self._clock())
            with contextlib.suppress(AskedTooSoon):
                await self._users.update(
                    user.profile.id, lambda user: user.ask(Purpose.RESET, ticket)
                )

    async def reset(self, token: str, password: str) -> None:
        """Sets the password of the link's account, and ends all of its sessions.

        Raises InvalidLink, PasswordTooCommon (the link is then still good), Exhausted.
        """
        token_hash = hash_of(token)
        user = await self._holder(token_hash, *self._rules.violations(password))
        self._rules.check(password, user.profile.email, user.profile.username)
        password_hash, now = await self._passwords.hash(password), self._clock()
        user_id, unprotected = user.profile.id, False

        def reset(user: User) -> None:
            nonlocal unprotected
            unprotected = user.reset(token_hash, password_hash, now)

        await self._users.update(user_id, reset)
        await self._sessions.end_all(user_id)
        await self._trail.record("password.reset", user_id=user_id, actor="link")
        if unprotected:
            await self._trail.record("totp.disabled", user_id=user_id, actor="link")

    async def _holder(self, token_hash: str, *further: Violation) -> User:
        user = await self._users.by_link(token_hash)
        if user is None:
            raise invalid_link(*further)
        return user

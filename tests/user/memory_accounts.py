"""Accounts in memory, and what stands around them: for the rules, without any server."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mercato.kernel.client import Client
from mercato.kernel.password_rules import PasswordRules
from mercato.platform.limits import Bucket, Local, Quota
from mercato.platform.sealing import Sealer
from mercato.user.authenticators import Authenticators
from mercato.user.model.account import (
    Profile,
    User,
    UserNotFound,
    normal_email,
    taken,
    username_key,
)
from mercato.user.model.letters import Letter, Template
from mercato.user.model.links import LinkKey
from mercato.user.model.trail import Kind
from mercato.user.usecase.accounts import Accounts
from mercato.user.usecase.attempts import Attempts
from mercato.user.usecase.recovery import Recovery
from mercato.user.usecase.second_factor import SecondFactors

SECRET = "a secret of the tests, of enough bytes"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
COMMON = frozenset(("password", "iloveyou", "dragon12"))


class MemoryUsers:
    """Each change sees the account as it was, and is kept whole or not at all."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.letters: list[Letter] = []
        self.forgotten: list[str] = []

    async def add(self, user: User) -> None:
        self._check(user)
        self._keep(user)

    async def get(self, user_id: str) -> User:
        if user_id not in self.users:
            raise UserNotFound("there is no such user")
        return deepcopy(self.users[user_id])

    async def by_login(self, login: str) -> User | None:
        wanted = normal_email(login) if "@" in login else username_key(login)
        return self._first(
            lambda user: wanted in (user.profile.email, username_key(user.profile.username))
        )

    async def by_link(self, token_hash: str) -> User | None:
        return self._first(
            lambda user: token_hash in [link.token_hash for link in user.links.values()]
        )

    async def profiles(self, ids: Sequence[str]) -> Mapping[str, Profile]:
        return {each: self.users[each].profile for each in ids if each in self.users}

    async def update(self, user_id: str, change: Callable[[User], None]) -> User:
        user = await self.get(user_id)
        change(user)
        self._check(user)
        return self._keep(user)

    async def rehash(self, user: User, password_hash: str) -> None:
        self.users[user.profile.id].password_hash = password_hash

    async def note_forgotten(self, email: str) -> None:
        self.forgotten.append(email)

    def _first(self, fits: Callable[[User], bool]) -> User | None:
        return next((deepcopy(user) for user in self.users.values() if fits(user)), None)

    def _check(self, user: User) -> None:
        others = [
            each.profile for each in self.users.values() if each.profile.id != user.profile.id
        ]
        name = username_key(user.profile.username)
        email_taken = any(each.email == user.profile.email for each in others)
        name_taken = any(username_key(each.username) == name for each in others)
        if email_taken or name_taken:
            raise taken(email=email_taken, username=name_taken)

    def _keep(self, user: User) -> User:
        self.letters += user.letters
        user.letters.clear()
        self.users[user.profile.id] = deepcopy(user)
        return user


class PlainPasswords:
    """Hashes that anybody can read, and a count of the work."""

    def __init__(self) -> None:
        self.checked = 0
        self.crowded = False

    async def hash(self, password: str) -> str:
        return f"${password}"

    async def check(
        self, password: str, stored: str | None, *, familiar: bool = False
    ) -> tuple[bool, str | None]:
        self.checked += 1
        return stored == f"${password}", None


@dataclass
class MemoryTrail:
    told: list[tuple[str, str]] = field(default_factory=list)
    details: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def record(
        self,
        kind: Kind,
        *,
        user_id: str = "",
        actor: str = "",
        address: str = "",
        detail: Mapping[str, str] = {},
    ) -> None:
        self.told.append((kind, user_id))
        self.details.append((kind, dict(detail)))


@dataclass
class MemoryEnds:
    """Whose sessions were ended, and which one was left."""

    ended: list[tuple[str, str]] = field(default_factory=list)

    async def end_all(self, user_id: str, *, but: str = "") -> int:
        self.ended.append((user_id, but))
        return 0


class MemoryFailures:
    """Ten failures an hour, by the buckets that the service has while Redis is away."""

    def __init__(self) -> None:
        self._local = Local()

    def _spend(self, key: str, cost: int) -> float:
        (verdict,) = self._local.spend([Bucket(key, Quota(10, 3600, 10))], cost)
        return verdict.retry_s

    async def take(self, key: str) -> float:
        return self._spend(key, 1)

    async def give_back(self, key: str) -> None:
        self._spend(key, -1)


class MemoryDevices:
    """Networks that are known."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    async def known(self, key: str) -> bool:
        return key in self.keys

    async def remember(self, key: str) -> None:
        self.keys.add(key)


class Desk:
    """Every use case of accounts over one memory, and a clock that is moved by hand."""

    def __init__(self, *, private: bool = False) -> None:
        self.now = NOW
        self.users, self.passwords = MemoryUsers(), PlainPasswords()
        self.sessions, self.trail = MemoryEnds(), MemoryTrail()
        self.links = LinkKey(SECRET)
        authenticators = Authenticators(Sealer(SECRET, "totp"))
        self.client, self.devices = Client("192.0.2.1"), MemoryDevices()
        self.attempts = Attempts(
            MemoryFailures(), self.devices, self.trail, lambda: self.client, SECRET
        )
        self.factors = SecondFactors(
            self.users, self.passwords, self.attempts, authenticators, self.trail, self.clock
        )
        rules = PasswordRules(COMMON)
        self.accounts = Accounts(
            self.users, self.passwords, self.clock, rules=rules, links=self.links,
            factors=self.factors, sessions=self.sessions, trail=self.trail, private=private,
            attempts=self.attempts,
        )  # fmt: skip
        self.recovery = Recovery(
            self.users, self.passwords, self.clock, rules=rules, links=self.links,
            sessions=self.sessions, trail=self.trail,
        )  # fmt: skip

    def clock(self) -> datetime:
        return self.now

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def token(self, template: Template, to: str = "") -> str:
        """Returns the token of the last link that was mailed so."""
        letters = [
            each
            for each in self.users.letters
            if each.template is template and (not to or each.to_email == to)
        ]
        return self.links.token(letters[-1].request)

    def mailed(self, to: str) -> list[str]:
        """Returns what was mailed to `to`."""
        return [str(each.template) for each in self.users.letters if each.to_email == to]

    def verified(self, user_id: str) -> None:
        user = self.users.users[user_id]
        user.profile = replace(user.profile, email_verified=True)

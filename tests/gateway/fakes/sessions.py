"""The real rules of sessions over the fakes' accounts and a dictionary."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mercato.kernel import clock
from mercato.pb import user_pb2
from mercato.platform.tokens import Tokens
from mercato.user.model.account import Profile
from mercato.user.model.session import RefreshTokens
from mercato.user.usecase.sessions import Sessions
from tests.user.memory_oauth import MemoryOAuth
from tests.user.memory_sessions import MemorySessions


class People:
    """The accounts of a fake, as sessions want to see them; their trail leads nowhere."""

    def __init__(self, profiles: Mapping[str, user_pb2.UserProfile]) -> None:
        self._profiles = profiles

    async def profiles(self, ids: Sequence[str]) -> Mapping[str, Profile]:
        return {user_id: of(self._profiles[user_id]) for user_id in ids}

    async def record(self, kind: str, **about: object) -> None:
        return


def of(user: user_pb2.UserProfile) -> Profile:
    role = "admin" if user.role == "admin" else "customer"
    at = datetime.fromisoformat(user.created_at)
    return Profile(user.id, user.username, user.email, role, at, user.version)  # type: ignore[arg-type]


def fake_sessions(tokens: Tokens, profiles: Mapping[str, user_pb2.UserProfile]) -> Sessions:
    people = People(profiles)
    store = MemorySessions(clock.now)
    return Sessions(
        store, MemoryOAuth(), people, tokens, RefreshTokens("r" * 32), people, clock.now
    )

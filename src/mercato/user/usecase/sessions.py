"""Where people are signed in: a session begins with a sign-in and lives by its refresh tokens."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from mercato.kernel.errors import Conflict, Invalid, Violation
from mercato.kernel.identity import Role
from mercato.user.model.account import Profile
from mercato.user.model.session import (
    Device,
    RefreshToken,
    RefreshTokens,
    Session,
    SessionNotFound,
    SessionOver,
)
from mercato.user.usecase.trail import Recorder

# Access tokens are older than this never; with room for clocks that differ.
REVOCATION_MATTERS: Final = timedelta(minutes=20)
REVOCATIONS_MAX: Final = 1000
TRIES_MAX: Final = 5


class SessionStore(Protocol):
    async def add(self, session: Session) -> None: ...

    async def get(self, session_id: str) -> Session | None: ...

    async def rotate(self, session: Session, before: int) -> bool:
        """Stores `session` if its place was `before` and nobody has ended it; says whether."""
        ...

    async def end(self, session_id: str, user_id: str) -> bool:
        """Ends the user's session; says whether it lived."""
        ...

    async def end_all(self, user_id: str, but: str) -> int:
        """Ends the user's sessions, all except `but`; returns how many lived."""
        ...

    async def of(self, user_id: str) -> Sequence[Session]:
        """Returns the user's sessions that have not been ended, the last used first."""
        ...

    async def ended_since(self, at: datetime, after_id: str, limit: int) -> Sequence[Session]:
        """Returns what was ended after (`at`, `after_id`), in this order."""
        ...


class Begun(Protocol):
    async def forget(self, user_id: str) -> None:
        """Voids the user's tickets and codes: no session comes of them any more."""
        ...


class People(Protocol):
    async def profiles(self, ids: Sequence[str]) -> Mapping[str, Profile]: ...


class Mint(Protocol):
    @property
    def access_ttl_s(self) -> int: ...

    def access(
        self, user_id: str, role: Role, *,
        session: str = "", scopes: Collection[str] = (), client_id: str = "",
    ) -> str: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Granted:
    """What a signed-in device gets; lifetimes in seconds."""

    session_id: str
    user_id: str
    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str = field(repr=False)
    refresh_expires_in: int
    scopes: tuple[str, ...] = ()


class Sessions:
    """The verbs. Whoever asks for somebody else's session finds none."""

    def __init__(
        self,
        store: SessionStore,
        begun: Begun,
        people: People,
        mint: Mint,
        tokens: RefreshTokens,
        trail: Recorder,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._begun = begun
        self._people = people
        self._mint = mint
        self._tokens = tokens
        self._trail = trail
        self._clock = clock

    async def open(
        self, profile: Profile, device: Device, *, client_id: str = "", scopes: Sequence[str] = ()
    ) -> Granted:
        """Begins a session of somebody who has proven who they are."""
        session = Session.new(profile.id, device, client_id, tuple(scopes), self._clock())
        token = self._tokens.first(session.id)
        session.accept(token)
        await self._store.add(session)
        return self._granted(session, profile, token, session.scopes)

    async def refresh(
        self, text: str, device: Device, *, client_id: str = "", scopes: Collection[str] = ()
    ) -> Granted:
        """Takes a refresh token in exchange for fresh ones, with fewer `scopes` if some are named.

        The same token once more, within model.GRACE, gets the same successor; later it is taken
        for a stolen one, which ends its session. Raises SessionOver, and Invalid for scopes that
        the session has not.
        """
        token = self._tokens.read(text)
        successor = self._tokens.successor(token)
        for _ in range(TRIES_MAX):
            session = await self._living(token.session_id, client_id)
            granted = _granted_scopes(session, scopes)
            now = self._clock()
            if session.is_current(token):
                session.rotate(successor, device, now)
                if not await self._store.rotate(session, token.place):
                    continue  # another call was faster: look again at what it has left
            elif not session.is_repeated(token, successor, now):
                await self._refuse(session, token, device)
            profile = (await self._people.profiles([session.user_id])).get(session.user_id)
            if profile is None:
                await self._store.end(session.id, session.user_id)
                raise SessionOver("the account is gone")
            return self._granted(session, profile, successor, granted)
        raise Conflict("the session is being refreshed by many at once; try again")

    async def end(self, session_id: str, user_id: str, *, address: str = "") -> None:
        """Logs one device out; raises SessionNotFound."""
        if not await self._store.end(session_id, user_id):
            raise SessionNotFound("there is no such session")
        detail = {"session_id": session_id}
        await self._trail.record("session.ended", user_id=user_id, address=address, detail=detail)

    async def end_all(self, user_id: str, *, but: str = "", address: str = "") -> int:
        """Logs every device out, except the session `but`; returns how many there were.

        Sign-ins that have got no session yet get none.
        """
        await self._begun.forget(user_id)
        ended = await self._store.end_all(user_id, but)
        if ended:
            detail = {"sessions": str(ended)}
            await self._trail.record(
                "session.ended", user_id=user_id, address=address, detail=detail
            )
        return ended

    async def of(self, user_id: str) -> list[Session]:
        """Returns where the user is signed in, the last used first."""
        now = self._clock()
        return [session for session in await self._store.of(user_id) if session.lives(now)]

    async def revoked_since(self, at: datetime | None, after_id: str = "") -> Sequence[Session]:
        """Returns sessions ended after (`at`, `after_id`), the first first, at most a page.

        Without `at`: all of which some access token may still be good.
        """
        since = at or self._clock() - REVOCATION_MATTERS
        return await self._store.ended_since(since, after_id, REVOCATIONS_MAX)

    async def by_token(self, text: str, *, client_id: str = "") -> Session:
        """Returns the session that a refresh token keeps alive now, and leaves the token as it is.

        Raises SessionOver.
        """
        token = self._tokens.read(text)
        session = await self._living(token.session_id, client_id)
        if not session.is_current(token):
            raise SessionOver("the session is over: sign in again")
        return session

    async def living(self, session_id: str) -> bool:
        """Returns whether the session has neither ended nor run out."""
        session = await self._store.get(session_id)
        return session is not None and session.lives(self._clock())

    async def _living(self, session_id: str, client_id: str) -> Session:
        session = await self._store.get(session_id)
        if session is None or session.client_id != client_id or not session.lives(self._clock()):
            raise SessionOver("the session is over: sign in again")
        return session

    async def _refuse(self, session: Session, token: RefreshToken, device: Device) -> None:
        """Raises SessionOver; a token that was used up before ends the session for everybody.

        Either its owner or a thief holds the present one, and nobody can tell which (RFC 9700).
        """
        if session.is_used_up(token):
            await self._store.end(session.id, session.user_id)
            detail = {"session_id": session.id, "agent": device.agent}
            await self._trail.record(
                "token.reuse", user_id=session.user_id, address=device.address, detail=detail
            )
        raise SessionOver("the session is over: sign in again")

    def _granted(
        self, session: Session, profile: Profile, token: RefreshToken, scopes: tuple[str, ...]
    ) -> Granted:
        access = self._mint.access(
            profile.id, profile.role,
            session=session.id, scopes=scopes, client_id=session.client_id,
        )  # fmt: skip
        left = session.expires_at - self._clock()
        return Granted(
            session.id, profile.id, access, self._mint.access_ttl_s,
            self._tokens.written(token), max(0, round(left.total_seconds())), scopes,
        )  # fmt: skip


def _granted_scopes(session: Session, wanted: Collection[str]) -> tuple[str, ...]:
    beyond = set(wanted) - set(session.scopes)
    if beyond:
        detail = f"the session has no {' '.join(sorted(beyond))}"
        raise Invalid(detail, [Violation("scope", detail)])
    return tuple(scope for scope in session.scopes if scope in wanted) or session.scopes

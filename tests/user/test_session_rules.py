"""Sessions: what a refresh token gets, when it comes again, and what ends a session."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from mercato.kernel.errors import Invalid
from mercato.kernel.identity import Role, new_id
from mercato.user.model.account import Profile
from mercato.user.model.session import (
    ABSOLUTE,
    GRACE,
    IDLE,
    Device,
    RefreshTokens,
    Session,
    SessionNotFound,
    SessionOver,
)
from mercato.user.usecase.sessions import Granted, Sessions
from tests.user.memory_oauth import MemoryOAuth
from tests.user.memory_sessions import MemorySessions

LAPTOP, PHONE = Device("192.0.2.1", "laptop"), Device("192.0.2.2", "phone")
MOMENT = timedelta(milliseconds=1)


class World:
    """A clock, one user, and everything that sessions ask of others."""

    access_ttl_s = 900

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, tzinfo=UTC)
        self.ada = Profile(new_id(), "ada", "ada@example.com", "customer", self.now)
        self.gone = False
        self.recorded: list[tuple[str, str, str]] = []
        self.store = MemorySessions(self.clock)
        self.tokens = RefreshTokens("s" * 32)
        self.sessions = Sessions(
            self.store, MemoryOAuth(), self, self, self.tokens, self, self.clock
        )

    def clock(self) -> datetime:
        return self.now

    async def profiles(self, ids: Sequence[str]) -> Mapping[str, Profile]:
        return {self.ada.id: self.ada} if self.ada.id in ids and not self.gone else {}

    def access(
        self, user_id: str, role: Role, *,
        session: str = "", scopes: Collection[str] = (), client_id: str = "",
    ) -> str:  # fmt: skip
        return f"{user_id} {role} {session} {' '.join(scopes)} {client_id}"

    async def record(
        self, kind: str, *, user_id: str = "", actor: str = "", address: str = "",
        detail: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.recorded.append((kind, user_id, address))

    async def open(self, client_id: str = "", scopes: Sequence[str] = ()) -> Granted:
        return await self.sessions.open(self.ada, LAPTOP, client_id=client_id, scopes=scopes)

    async def refresh(self, token: str, device: Device = LAPTOP) -> Granted:
        return await self.sessions.refresh(token, device)


@pytest.fixture
def world() -> World:
    return World()


async def test_each_refresh_gives_a_new_token_and_the_present_role(world: World) -> None:
    granted = await world.open()
    tokens = {granted.refresh_token}
    for _ in range(20):
        world.now += timedelta(minutes=14)
        granted = await world.refresh(granted.refresh_token)
        tokens.add(granted.refresh_token)
    assert len(tokens) == 21
    assert granted.access_token.split()[:3] == [world.ada.id, "customer", granted.session_id]
    world.ada = Profile(world.ada.id, "ada", world.ada.email, "admin", world.now)
    assert "admin" in (await world.refresh(granted.refresh_token)).access_token


async def test_a_lost_answer_is_given_again_for_ten_seconds(world: World) -> None:
    first = await world.open()
    world.now += timedelta(minutes=14)
    lost = await world.refresh(first.refresh_token)
    world.now += GRACE - MOMENT
    again = await world.refresh(first.refresh_token)
    assert again.refresh_token == lost.refresh_token
    await world.refresh(again.refresh_token)
    assert world.recorded == []


async def test_a_used_token_after_that_ends_the_session_for_everybody(world: World) -> None:
    first = await world.open()
    second = await world.refresh(first.refresh_token)
    world.now += GRACE
    with pytest.raises(SessionOver):
        await world.refresh(first.refresh_token, PHONE)
    assert world.recorded == [("token.reuse", world.ada.id, PHONE.address)]
    with pytest.raises(SessionOver):
        await world.refresh(second.refresh_token)
    assert [s.id for s in await world.sessions.revoked_since(None)] == [first.session_id]


async def test_a_token_from_long_before_ends_it_too_and_at_once(world: World) -> None:
    first = await world.open()
    second = await world.refresh(first.refresh_token)
    third = await world.refresh(second.refresh_token)
    with pytest.raises(SessionOver):
        await world.refresh(first.refresh_token)
    with pytest.raises(SessionOver):
        await world.refresh(third.refresh_token)
    assert [kind for kind, *_ in world.recorded] == ["token.reuse"]


async def test_noise_ends_nothing(world: World) -> None:
    granted = await world.open()
    token = granted.refresh_token
    old = await world.refresh(token)
    other = RefreshTokens("t" * 32)
    forged = other.written(other.first(granted.session_id))
    changed = (
        token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1],
        token.upper(),
        token[:-1],
    )
    for noise in (
        "",
        "mrt_",
        "é" * len(token),
        token + "=",
        token + "A",
        f" {token}",
        forged,
        *changed,
    ):
        with pytest.raises(SessionOver):
            await world.refresh(noise)
    assert world.recorded == []
    await world.refresh(old.refresh_token)


async def test_a_session_ends_when_nobody_uses_it_and_after_thirty_days_at_the_latest(
    world: World,
) -> None:
    idle, busy = await world.open(), await world.open()
    began = world.now
    while world.now + IDLE - MOMENT < began + ABSOLUTE:
        world.now += IDLE - MOMENT
        busy = await world.refresh(busy.refresh_token)
    with pytest.raises(SessionOver):
        await world.refresh(idle.refresh_token)
    assert busy.refresh_expires_in == int((began + ABSOLUTE - world.now).total_seconds())
    world.now = began + ABSOLUTE
    with pytest.raises(SessionOver):
        await world.refresh(busy.refresh_token)
    assert await world.sessions.of(world.ada.id) == []


async def test_one_sees_and_ends_ones_own_sessions_only(world: World) -> None:
    here, there, third = await world.open(), await world.open(), await world.open()
    assert {s.id for s in await world.sessions.of(world.ada.id)} == {
        here.session_id, there.session_id, third.session_id,
    }  # fmt: skip
    assert await world.sessions.of(new_id()) == []
    with pytest.raises(SessionNotFound):
        await world.sessions.end(here.session_id, new_id())
    await world.sessions.end(there.session_id, world.ada.id)
    with pytest.raises(SessionNotFound):
        await world.sessions.end(there.session_id, world.ada.id)
    assert await world.sessions.end_all(world.ada.id, but=here.session_id) == 1
    assert [s.id for s in await world.sessions.of(world.ada.id)] == [here.session_id]
    assert await world.sessions.end_all(world.ada.id) == 1
    assert [kind for kind, *_ in world.recorded] == ["session.ended"] * 3


async def test_a_clients_session_is_for_that_client_and_its_scopes(world: World) -> None:
    granted = await world.open("till", ("openid", "orders:read"))
    for client_id in ("", "another"):
        with pytest.raises(SessionOver):
            await world.sessions.refresh(granted.refresh_token, PHONE, client_id=client_id)
    with pytest.raises(Invalid):
        await world.sessions.refresh(
            granted.refresh_token, PHONE, client_id="till", scopes=["orders:write"]
        )
    fewer = await world.sessions.refresh(
        granted.refresh_token, PHONE, client_id="till", scopes=["orders:read"]
    )
    assert fewer.scopes == ("orders:read",)
    assert fewer.access_token.endswith("orders:read till")
    all_again = await world.sessions.refresh(fewer.refresh_token, PHONE, client_id="till")
    assert all_again.scopes == ("openid", "orders:read")


async def test_a_session_of_nobody_is_over(world: World) -> None:
    granted = await world.open()
    world.gone = True
    with pytest.raises(SessionOver):
        await world.refresh(granted.refresh_token)
    world.gone = False
    with pytest.raises(SessionOver):
        await world.refresh(granted.refresh_token)


async def test_one_of_two_that_rotate_at_once_finds_what_the_other_left(world: World) -> None:
    granted = await world.open()
    kept = world.store.rotate

    async def slower(session: Session, before: int) -> bool:
        world.store.rotate = kept  # type: ignore[method-assign]
        await world.refresh(granted.refresh_token)
        return await kept(session, before)

    world.store.rotate = slower  # type: ignore[method-assign]
    answer = await world.refresh(granted.refresh_token)
    session = await world.store.get(granted.session_id)
    assert session is not None
    assert session.place == 1
    assert session.hash == world.tokens.read(answer.refresh_token).hash


async def test_what_is_kept_is_no_token(world: World) -> None:
    granted = await world.open()
    session = await world.store.get(granted.session_id)
    assert session is not None
    secret = world.tokens.read(granted.refresh_token).secret
    assert secret not in (session.hash, session.id.encode())
    assert len(secret) == 32
    assert granted.refresh_token not in repr((granted, session, world.tokens.first(session.id)))

"""Guesses at passwords: bounded for everybody, and no way to lock others out."""

import asyncio
from dataclasses import dataclass

import pytest

from mercato.kernel.client import Client
from mercato.kernel.errors import Exhausted
from mercato.kernel.identity import Caller
from mercato.user.model.account import OPERATOR, CurrentPasswordWrong, WrongCredentials
from mercato.user.usecase.accounts import Registration, Wish
from mercato.user.usecase.attempts import TooManyAttempts
from tests.user.memory_accounts import Desk

EMAIL, PASSWORD = "ada@example.com", "a good long pass phrase"
HOME, AWAY = Client("192.0.2.1"), Client("198.51.100.66")


@dataclass
class Seen:
    """What came of one try."""

    refusal: str
    retry_after_s: int


async def tried(desk: Desk, client: Client, login: str, password: str) -> Seen:
    desk.client = client
    try:
        await desk.accounts.authenticate(login, password)
    except (WrongCredentials, TooManyAttempts) as refusal:
        return Seen(f"{refusal.slug}: {refusal.detail}", refusal.retry_after_s)
    return Seen("", 0)


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    await desk.accounts.register(Registration(EMAIL, PASSWORD), OPERATOR)
    return desk


async def test_an_account_bears_so_many_failures_and_no_more(desk: Desk) -> None:
    seen = [await tried(desk, AWAY, EMAIL, "wrong") for _ in range(12)]
    assert [s.refusal.partition(":")[0] for s in seen] == (
        ["wrong-credentials"] * 10 + ["too-many-attempts"] * 2
    )
    assert 350 <= seen[-1].retry_after_s <= 360
    assert (await tried(desk, AWAY, EMAIL, PASSWORD)).refusal.startswith("too-many-attempts")
    assert [kind for kind, _ in desk.trail.told].count("lockout") == 3


async def test_known_and_unknown_accounts_are_counted_alike(desk: Desk) -> None:
    known = [await tried(desk, AWAY, EMAIL, "wrong") for _ in range(12)]
    nobody = [await tried(desk, AWAY, "nobody@example.com", "wrong") for _ in range(12)]
    assert known == nobody


async def test_others_cannot_lock_out_who_comes_from_where_they_came_before(desk: Desk) -> None:
    assert not (await tried(desk, HOME, EMAIL, PASSWORD)).refusal
    for number in range(30):
        await tried(desk, Client(f"198.51.100.{number}"), EMAIL, "wrong")
    assert (await tried(desk, AWAY, EMAIL, PASSWORD)).refusal.startswith("too-many-attempts")
    assert not (await tried(desk, HOME, EMAIL, PASSWORD)).refusal
    for _ in range(10):
        await tried(desk, HOME, EMAIL, "wrong")
    assert (await tried(desk, HOME, EMAIL, PASSWORD)).refusal, "a known network is bounded too"


async def test_another_spelling_is_no_other_login(desk: Desk) -> None:
    for spelling in (EMAIL, EMAIL.upper()) * 5:
        await tried(desk, AWAY, spelling, "wrong")
    assert (await tried(desk, AWAY, EMAIL.title(), "wrong")).refusal.startswith("too-many")


async def test_who_is_right_is_not_counted(desk: Desk) -> None:
    for _ in range(50):
        assert not (await tried(desk, AWAY, EMAIL, PASSWORD)).refusal


async def test_a_thousand_guesses_at_once_do_not_slip_through(desk: Desk) -> None:
    seen = await asyncio.gather(*(tried(desk, AWAY, EMAIL, f"{n}") for n in range(1000)))
    assert sum(each.refusal.startswith("wrong-credentials") for each in seen) == 10


async def test_in_a_crowd_strangers_wait_and_who_is_known_does_not(desk: Desk) -> None:
    assert not (await tried(desk, HOME, EMAIL, PASSWORD)).refusal
    desk.passwords.crowded = True
    assert not (await tried(desk, HOME, EMAIL, PASSWORD)).refusal
    for login in (EMAIL, "nobody@example.com"):
        with pytest.raises(Exhausted, match="too many passwords"):
            await tried(desk, AWAY, login, PASSWORD)


async def test_who_holds_a_session_guesses_no_oftener_than_a_stranger(desk: Desk) -> None:
    ada = Caller((await desk.accounts.authenticate(EMAIL, PASSWORD)).id, "customer")

    async def guess(password: str) -> None:
        wish = Wish(password="another good pass phrase", current_password=password)
        await desk.accounts.update(ada.id, wish, ada)

    for _ in range(5):
        with pytest.raises(CurrentPasswordWrong):
            await guess("wrong")
        with pytest.raises(CurrentPasswordWrong):
            await desk.factors.begin(ada, "wrong")
    for work in (guess(PASSWORD), desk.factors.begin(ada, PASSWORD)):
        with pytest.raises(TooManyAttempts):
            await work
    assert desk.trail.details[-3:] == [
        (kind, {"reason": "current_password"}) for kind in ("login.failed", "lockout", "lockout")
    ]
    assert not (await tried(desk, AWAY, EMAIL, PASSWORD)).refusal, "signing in is another count"


async def test_who_knows_the_present_password_is_not_counted(desk: Desk) -> None:
    ada = Caller((await desk.accounts.authenticate(EMAIL, PASSWORD)).id, "customer")
    for _ in range(20):
        await desk.factors.begin(ada, PASSWORD)

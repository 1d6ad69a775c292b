"""Private registration: nobody learns from it who has an account."""

import re

import pytest

from mercato.kernel.identity import Caller, is_id
from mercato.user.model.account import (
    OPERATOR,
    CurrentPasswordWrong,
    EmailTaken,
    Profile,
    WrongCredentials,
)
from mercato.user.model.letters import Template
from mercato.user.usecase import accounts as usecase
from mercato.user.usecase.accounts import Registration, Wish
from tests.user.memory_accounts import Desk

GATEWAY = Caller("gateway", "service")
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usecase, "PRIVATE_ANSWER_S", 0.0)


async def register(desk: Desk, email: str, username: str = "") -> Profile:
    wish = Registration(email, PASSWORD, username)
    return await desk.accounts.register(wish, GATEWAY)


async def test_a_known_address_is_answered_as_an_unknown_one_and_its_owner_is_told() -> None:
    desk = Desk(private=True)
    first = await register(desk, "ann@example.com", "ann")
    desk.later(minutes=2)
    again = await register(desk, "ANN@example.com", "somebody")
    assert again.id != first.id
    assert is_id(again.id)
    assert desk.mailed("ann@example.com") == ["welcome", "already-registered"]
    assert list(desk.users.users) == [first.id]
    for who in (first, again):
        assert re.fullmatch("user-[0-9a-f]{6}", who.username)


async def test_nobody_signs_in_before_the_address_is_verified() -> None:
    desk = Desk(private=True)
    who = await register(desk, "ann@example.com")
    with pytest.raises(WrongCredentials):
        await desk.accounts.authenticate("ann@example.com", PASSWORD)
    assert desk.passwords.checked == 1
    await desk.recovery.verify(desk.token(Template.WELCOME))
    assert (await desk.accounts.authenticate("ann@example.com", PASSWORD)).id == who.id


async def test_whom_the_operator_registers_is_vouched_for() -> None:
    desk = Desk(private=True)
    wish = Registration("boss@example.com", PASSWORD, role="admin")
    who = await desk.accounts.register(wish, OPERATOR)
    assert (await desk.accounts.authenticate("boss@example.com", PASSWORD)).id == who.id


async def test_another_address_is_the_accounts_when_its_link_is_used() -> None:
    desk = Desk(private=True)
    who = await register(desk, "ann@example.com")
    desk.verified(who.id)
    asking = Caller(who.id, "customer")
    answer = await desk.accounts.update(
        who.id, Wish(email="new@example.com", current_password=PASSWORD), asking
    )
    assert answer.email == "ann@example.com"
    assert desk.mailed("new@example.com") == ["verify-email"]
    await desk.recovery.verify(desk.token(Template.VERIFY_EMAIL))
    after = (await desk.users.get(who.id)).profile
    assert (after.email, after.email_verified) == ("new@example.com", True)
    assert desk.mailed("ann@example.com")[-1] == "email-changed"


async def test_another_address_needs_the_present_password() -> None:
    desk = Desk(private=True)
    who = await register(desk, "ann@example.com")
    asking = Caller(who.id, "customer")
    for password in (None, "wrong password"):
        wish = Wish(email="new@example.com", current_password=password)
        with pytest.raises(CurrentPasswordWrong):
            await desk.accounts.update(who.id, wish, asking)
    assert desk.mailed("new@example.com") == []


async def test_an_address_that_another_has_is_asked_for_with_the_same_answer() -> None:
    desk = Desk(private=True)
    ann, bob = await register(desk, "ann@example.com"), await register(desk, "bob@example.com")
    desk.verified(ann.id)
    asking = Caller(ann.id, "customer")
    wish = Wish(email="bob@example.com", current_password=PASSWORD)
    answer = await desk.accounts.update(ann.id, wish, asking)
    assert answer == (await desk.users.get(ann.id)).profile
    assert desk.mailed("bob@example.com")[-1] == "already-registered"
    assert bob.id in desk.users.users


async def test_without_it_a_known_address_is_refused_by_name() -> None:
    desk = Desk()
    await register(desk, "ann@example.com")
    with pytest.raises(EmailTaken):
        await register(desk, "ann@example.com")

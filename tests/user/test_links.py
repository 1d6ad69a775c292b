"""Mailed links: what they open, how long, and how often."""

from typing import Any

import pytest

from mercato.kernel.identity import Caller
from mercato.kernel.password_rules import PasswordTooCommon
from mercato.user.model.account import CurrentPasswordWrong, Profile, WrongCredentials
from mercato.user.model.letters import Template
from mercato.user.model.links import AskedTooSoon, InvalidLink, LinkKey, hash_of
from mercato.user.usecase.accounts import Registration, Wish
from mercato.user.usecase.recovery import AlreadyVerified
from tests.user.memory_accounts import NOW, SECRET, Desk

GATEWAY = Caller("gateway", "service")
EMAIL, PASSWORD = "ann@example.com", "correct horse battery"


async def registered(desk: Desk, email: str = EMAIL) -> Profile:
    return await desk.accounts.register(Registration(email, PASSWORD), GATEWAY)


def owner(who: Profile) -> Caller:
    return Caller(who.id, "customer", session="here")


async def profile(desk: Desk, who: Profile) -> Profile:
    return (await desk.users.get(who.id)).profile


async def reset_token(desk: Desk) -> str:
    await desk.recovery.answer(EMAIL)
    return desk.token(Template.RESET_PASSWORD)


def test_a_token_has_256_bits_and_the_account_keeps_none_of_them() -> None:
    key = LinkKey(SECRET)
    tickets = [key.ticket(NOW) for _ in range(100)]
    tokens = {key.token(ticket.request) for ticket in tickets}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {43}
    assert all(hash_of(key.token(ticket.request)) == ticket.token_hash for ticket in tickets)
    assert LinkKey("another").token(tickets[0].request) not in tokens


async def test_a_welcome_mail_has_the_link_that_verifies_its_address() -> None:
    desk = Desk()
    who = await registered(desk)
    assert desk.mailed(EMAIL) == ["welcome"]
    assert not who.email_verified
    await desk.recovery.verify(desk.token(Template.WELCOME))
    after = await profile(desk, who)
    assert (after.email_verified, after.version) == (True, 2)


async def test_a_link_works_once() -> None:
    desk = Desk()
    await registered(desk)
    token = desk.token(Template.WELCOME)
    await desk.recovery.verify(token)
    with pytest.raises(InvalidLink):
        await desk.recovery.verify(token)


@pytest.mark.parametrize(("hours", "good"), [(23.9, True), (24.1, False)])
async def test_a_link_that_verifies_works_for_a_day(hours: float, good: bool) -> None:
    desk = Desk()
    who = await registered(desk)
    token = desk.token(Template.WELCOME)
    desk.later(hours=hours)
    if good:
        await desk.recovery.verify(token)
    else:
        with pytest.raises(InvalidLink):
            await desk.recovery.verify(token)
    assert (await profile(desk, who)).email_verified is good


async def test_a_newer_link_voids_the_older() -> None:
    desk = Desk()
    who = await registered(desk)
    old = desk.token(Template.WELCOME)
    with pytest.raises(AskedTooSoon):
        await desk.recovery.resend(owner(who))
    desk.later(minutes=2)
    await desk.recovery.resend(owner(who))
    with pytest.raises(InvalidLink):
        await desk.recovery.verify(old)
    await desk.recovery.verify(desk.token(Template.VERIFY_EMAIL))
    desk.later(minutes=2)
    with pytest.raises(AlreadyVerified):
        await desk.recovery.resend(owner(who))


async def test_a_link_for_one_thing_does_not_do_another() -> None:
    desk = Desk()
    await registered(desk)
    welcome, reset = desk.token(Template.WELCOME), await reset_token(desk)
    with pytest.raises(InvalidLink):
        await desk.recovery.reset(welcome, "another good one")
    with pytest.raises(InvalidLink):
        await desk.recovery.verify(reset)
    await desk.recovery.reset(reset, "another good one")


async def test_a_lost_password_is_asked_for_without_a_look_at_accounts() -> None:
    desk = Desk()
    await registered(desk)
    for email in (EMAIL, "Nobody@example.com"):
        await desk.recovery.forgotten(email)
    assert desk.users.forgotten == [EMAIL, "nobody@example.com"]
    assert desk.mailed(EMAIL) == ["welcome"]
    for email in desk.users.forgotten:
        await desk.recovery.answer(email)
    assert desk.mailed(EMAIL) == ["welcome", "reset-password"]
    assert desk.mailed("nobody@example.com") == []


async def test_nobody_can_fill_a_mailbox_by_asking() -> None:
    desk = Desk()
    await registered(desk)
    for _ in range(50):
        await desk.recovery.answer(EMAIL)
        desk.later(seconds=10)
    assert desk.mailed(EMAIL).count("reset-password") <= 9


async def test_a_reset_sets_the_password_ends_every_session_and_tells_the_owner() -> None:
    desk = Desk()
    who = await registered(desk)
    await desk.recovery.reset(await reset_token(desk), "another good one")
    assert desk.sessions.ended == [(who.id, "")]
    assert ("password.reset", who.id) in desk.trail.told
    assert desk.mailed(EMAIL)[-1] == "password-changed"
    assert (await desk.accounts.authenticate(EMAIL, "another good one")).id == who.id
    assert (await profile(desk, who)).email_verified  # the mail was read there


async def test_a_sign_in_that_waits_while_the_password_is_reset_comes_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    await registered(desk)
    token, check = await reset_token(desk), desk.passwords.check

    async def slow(*given: Any, **more: Any) -> tuple[bool, str | None]:
        found = await check(*given, **more)
        await desk.recovery.reset(token, "a new pass phrase")
        return found

    monkeypatch.setattr(desk.passwords, "check", slow)
    with pytest.raises(WrongCredentials):
        await desk.accounts.authenticate(EMAIL, PASSWORD)


async def test_a_reset_link_works_for_an_hour() -> None:
    desk = Desk()
    await registered(desk)
    token = await reset_token(desk)
    desk.later(minutes=61)
    with pytest.raises(InvalidLink):
        await desk.recovery.reset(token, "another good one")


async def test_a_bad_link_and_a_common_password_are_told_together() -> None:
    with pytest.raises(InvalidLink) as refusal:
        await Desk().recovery.reset("never given", "password")
    assert [each.field for each in refusal.value.violations] == ["token", "password"]


async def test_a_wrong_present_password_and_a_common_new_one_are_told_together() -> None:
    desk = Desk()
    who = await registered(desk)
    wish = Wish(password="password", current_password="a wrong one")
    with pytest.raises(CurrentPasswordWrong) as refusal:
        await desk.accounts.update(who.id, wish, owner(who))
    assert [each.field for each in refusal.value.violations] == ["current_password", "password"]


async def test_a_refused_password_leaves_the_link_good() -> None:
    desk = Desk()
    await registered(desk)
    token = await reset_token(desk)
    with pytest.raises(PasswordTooCommon):
        await desk.recovery.reset(token, "password")
    await desk.recovery.reset(token, "another good one")


@pytest.mark.parametrize("wish", [
    Wish(email="new@example.com"), Wish(password="a newer one", current_password=PASSWORD),
])  # fmt: skip
async def test_another_address_or_password_voids_every_link(wish: Wish) -> None:
    desk = Desk()
    who = await registered(desk)
    welcome, reset = desk.token(Template.WELCOME), await reset_token(desk)
    await desk.accounts.update(who.id, wish, owner(who))
    with pytest.raises(InvalidLink):
        await desk.recovery.verify(welcome)
    with pytest.raises(InvalidLink):
        await desk.recovery.reset(reset, "another good one")


async def test_another_address_is_unverified_and_the_old_one_is_told() -> None:
    desk = Desk()
    who = await registered(desk)
    await desk.recovery.verify(desk.token(Template.WELCOME))
    changed = await desk.accounts.update(who.id, Wish(email="New@example.com"), owner(who))
    assert (changed.email, changed.email_verified) == ("new@example.com", False)
    assert desk.mailed(EMAIL) == ["welcome", "email-changed"]
    assert desk.mailed("new@example.com") == ["verify-email"]
    await desk.recovery.verify(desk.token(Template.VERIFY_EMAIL))
    assert (await profile(desk, who)).email_verified


async def test_a_new_password_ends_the_other_sessions_and_is_told() -> None:
    desk = Desk()
    who = await registered(desk)
    wish = Wish(password="a newer one", current_password=PASSWORD)
    await desk.accounts.update(who.id, wish, owner(who))
    assert desk.sessions.ended == [(who.id, "here")]
    assert ("password.changed", who.id) in desk.trail.told
    assert desk.mailed(EMAIL) == ["welcome", "password-changed"]

"""The second factor: each code once, few guesses, and a way back without the authenticator."""

import asyncio

import pyotp
import pytest

from mercato.kernel.identity import Caller
from mercato.platform.sealing import SealBroken, Sealer
from mercato.user.model.account import CurrentPasswordWrong, Profile, WrongCredentials
from mercato.user.model.letters import Template
from mercato.user.model.second_factor import (
    CodeWrong,
    NoSecondFactor,
    OtpRequired,
    OtpWrong,
    SecondFactorOn,
    TooManyCodes,
)
from mercato.user.usecase.accounts import Registration
from tests.user.memory_accounts import Desk

GATEWAY = Caller("gateway", "service")
EMAIL, PASSWORD = "ann@example.com", "correct horse battery"


class Phone:
    """Ann, with an authenticator in her hand."""

    def __init__(self, desk: Desk, who: Profile) -> None:
        self.desk = desk
        self.caller = Caller(who.id, "customer")
        self.secret = ""
        self.recovery: list[str] = []

    @property
    def code(self) -> str:
        return pyotp.TOTP(self.secret).at(self.desk.now)

    @property
    def wrong(self) -> str:
        return f"{(int(self.code) + 1) % 10**6:06}"

    async def login(self, otp: str = "", password: str = PASSWORD) -> Profile:
        return await self.desk.accounts.authenticate(EMAIL, password, otp)


async def registered() -> Phone:
    desk = Desk()
    return Phone(desk, await desk.accounts.register(Registration(EMAIL, PASSWORD), GATEWAY))


async def enrolled() -> Phone:
    phone = await registered()
    phone.secret, uri = await phone.desk.factors.begin(phone.caller, PASSWORD)
    assert uri.startswith("otpauth://totp/Mercato:ann%40example.com?secret=")
    phone.recovery = await phone.desk.factors.confirm(phone.caller, phone.code)
    phone.desk.later(seconds=30)
    return phone


async def test_a_sign_in_takes_a_code_once_the_factor_is_confirmed() -> None:
    phone = await enrolled()
    with pytest.raises(OtpRequired):
        await phone.login()
    assert (await phone.login(phone.code)).id == phone.caller.id
    assert phone.desk.mailed(EMAIL) == ["welcome", "second-factor-on"]
    assert ("totp.enabled", phone.caller.id) in phone.desk.trail.told


async def test_a_factor_that_is_not_confirmed_is_not_asked_for() -> None:
    phone = await registered()
    await phone.desk.factors.begin(phone.caller, PASSWORD)
    assert (await phone.login()).id == phone.caller.id


async def test_nothing_tells_of_the_factor_before_the_right_password() -> None:
    phone = await enrolled()
    for otp in ("", phone.code, "000000"):
        with pytest.raises(WrongCredentials):
            await phone.login(otp, "wrong password")
    await phone.login(phone.code)


async def test_a_code_is_taken_once_and_no_older_one_after_it() -> None:
    phone = await enrolled()
    old, code = phone.code, phone.code
    await phone.login(code)
    with pytest.raises(OtpWrong):
        await phone.login(code)
    phone.desk.later(seconds=30)
    await phone.login(phone.code)
    with pytest.raises(OtpWrong):
        await phone.login(old)


@pytest.mark.parametrize(("seconds", "taken"), [(30, True), (90, False)])
async def test_a_clock_may_be_half_a_minute_off(seconds: float, taken: bool) -> None:
    phone = await enrolled()
    code = phone.code
    phone.desk.later(seconds=seconds)
    if taken:
        await phone.login(code)
    else:
        with pytest.raises(OtpWrong):
            await phone.login(code)


async def test_few_guesses_are_taken_and_more_of_them_wait() -> None:
    phone = await enrolled()
    for _ in range(5):
        with pytest.raises(OtpWrong):
            await phone.login(phone.wrong)
    with pytest.raises(TooManyCodes):
        await phone.login(phone.code)
    told = [each for each in phone.desk.trail.details if each[1].get("reason") == "otp"]
    assert told == [("login.failed", {"reason": "otp"})] * 5 + [("lockout", {"reason": "otp"})]
    assert phone.desk.trail.told.count(("lockout", phone.caller.id)) == 1
    phone.desk.later(minutes=16)
    await phone.login(phone.code)


async def test_a_recovery_code_signs_in_once() -> None:
    phone = await enrolled()
    assert len(set(phone.recovery)) == 10
    await phone.login(f" {phone.recovery[3].upper()} ")
    with pytest.raises(OtpWrong):
        await phone.login(phone.recovery[3])
    await phone.login(phone.recovery[4])


async def test_a_code_may_be_typed_with_other_spaces_dashes_and_capitals() -> None:
    phone = await enrolled()
    await phone.login(phone.recovery[0].replace("-", ""))
    await phone.login(phone.recovery[1].replace("-", " ").upper())
    with pytest.raises(OtpWrong):
        await phone.login(phone.recovery[1])
    await phone.login(f"{phone.code[:3]} {phone.code[3:]}")


async def test_neither_secret_nor_codes_stand_in_the_account() -> None:
    phone = await enrolled()
    factor = phone.desk.users.users[phone.caller.id].factor
    assert factor is not None
    kept = f"{factor.sealed} {factor.recovery}"
    assert not [each for each in (phone.secret, *phone.recovery) if each in kept]
    with pytest.raises(SealBroken):
        Sealer("another secret", "totp").open(factor.sealed, phone.caller.id)
    with pytest.raises(SealBroken):
        Sealer("a secret of the tests, of enough bytes", "totp").open(factor.sealed, "somebody")


async def test_a_wrong_code_confirms_nothing() -> None:
    phone = await registered()
    with pytest.raises(NoSecondFactor):
        await phone.desk.factors.confirm(phone.caller, "123456")
    phone.secret, _ = await phone.desk.factors.begin(phone.caller, PASSWORD)
    with pytest.raises(CodeWrong):
        await phone.desk.factors.confirm(phone.caller, phone.wrong)
    assert (await phone.login()).id == phone.caller.id


async def test_the_factor_ends_by_password_and_code_only() -> None:
    phone = await enrolled()
    with pytest.raises(CurrentPasswordWrong):
        await phone.desk.factors.end(phone.caller, "wrong password", phone.code)
    with pytest.raises(CodeWrong):
        await phone.desk.factors.end(phone.caller, PASSWORD, phone.wrong)
    with pytest.raises(OtpRequired):
        await phone.login()
    await phone.desk.factors.end(phone.caller, PASSWORD, phone.code)
    await phone.login()
    assert phone.desk.mailed(EMAIL)[-1] == "second-factor-off"


async def test_a_second_one_does_not_replace_the_first() -> None:
    phone = await enrolled()
    with pytest.raises(SecondFactorOn):
        await phone.desk.factors.begin(phone.caller, PASSWORD)
    with pytest.raises(CurrentPasswordWrong):
        await phone.desk.factors.begin(phone.caller, "wrong password")


async def test_a_reset_keeps_the_factor_of_a_verified_address_and_ends_a_strangers() -> None:
    for verified in (True, False):
        phone = await enrolled()
        if verified:
            phone.desk.verified(phone.caller.id)
        await phone.desk.recovery.answer(EMAIL)
        token = phone.desk.token(Template.RESET_PASSWORD)
        await phone.desk.recovery.reset(token, "another good one")
        if verified:
            with pytest.raises(OtpRequired):
                await phone.login(password="another good one")
        else:
            await phone.login(password="another good one")
        ended = ("totp.disabled", phone.caller.id) in phone.desk.trail.told
        assert ended is not verified
        assert ("second-factor-off" in phone.desk.mailed(EMAIL)) is not verified


async def test_of_many_with_one_code_at_once_one_signs_in() -> None:
    phone = await enrolled()
    logins = (phone.login(phone.recovery[0]) for _ in range(10))
    answers = await asyncio.gather(*logins, return_exceptions=True)
    assert len([each for each in answers if isinstance(each, Profile)]) == 1

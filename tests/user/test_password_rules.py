"""Which passwords are refused, and that all others are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.embedded.plan import LOGINS
from mercato.kernel.password_rules import PasswordRules, PasswordTooCommon
from mercato.platform.passwords import common
from mercato.user.model.account import username_from

RULES = PasswordRules(common())
ANN = ("ann.lovelace@example.com", "Ann.Lovelace")


def refused(password: str, *about: str) -> bool:
    try:
        RULES.check(password, *about)
    except PasswordTooCommon as refusal:
        return [violation.field for violation in refusal.violations] == ["password"]
    return False


def test_every_password_that_attackers_try_first_is_refused() -> None:
    assert len(common()) == 30_000
    assert all(refused(each) for each in common())
    assert all(refused(each.upper()) for each in common())


@pytest.mark.parametrize(
    "password", ["Password1!", "dragon2026", "!!iloveyou!!", "12345678", "qwertyuiop"]
)
def test_a_decorated_common_password_is_a_common_password(password: str) -> None:
    assert refused(password)


@pytest.mark.parametrize("password", [
    "annlovelace1", "Ann.Lovelace", "lovelace1843", "ann.lovelace@example.com", "LOVELACElovelace",
])  # fmt: skip
def test_what_is_little_more_than_the_account_is_refused(password: str) -> None:
    assert refused(password, *ANN)
    assert not refused(password)


@pytest.mark.parametrize("password", ["mercato2026", "Mercato!!", "linen-mercato", "ann@linen1"])
def test_what_is_little_more_than_the_shop_is_refused(password: str) -> None:
    rules = PasswordRules(common(), "mercato", "linen.example")
    with pytest.raises(PasswordTooCommon):
        rules.check(password, *ANN)
    rules.check(f"{password} cupboard", *ANN)
    assert not refused(password, *ANN)


@pytest.mark.parametrize("password", [
    "correct horse battery staple", "lovelace wrote notes on it", "7#k9!2x$", "пароль не скажу",
    "\N{PILE OF POO}" * 8, "nul\0inside it", "x9" * 128,
])  # fmt: skip
def test_anything_else_is_a_password(password: str) -> None:
    assert not refused(password, *ANN)


def test_the_logins_of_the_demo_keep_the_rules() -> None:
    for email, password in LOGINS.items():
        PasswordRules(common(), "mercato", "localhost").check(password, email, username_from(email))


@given(st.text(max_size=300), st.text(max_size=40))
def test_any_text_is_judged(password: str, about: str) -> None:
    assert refused(password, about) in (True, False)

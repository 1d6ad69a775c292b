"""The rules of an account, without any server."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel import clock
from mercato.kernel.errors import Conflict, Stale
from mercato.user.model.account import (
    Edit,
    EmailTaken,
    User,
    UsernameTaken,
    another,
    taken,
    username_from,
)

USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{2,31}")


def somebody() -> User:
    return User.new("Ann.Example@Example.COM", "Ann", "customer", "hash", clock.now())


def test_an_email_is_kept_in_lower_case() -> None:
    assert somebody().profile.email == "ann.example@example.com"


@given(st.emails() | st.text())
def test_any_email_makes_a_username_that_keeps_the_rules(email: str) -> None:
    assert USERNAME.fullmatch(username_from(email))
    assert USERNAME.fullmatch(another(username_from(email)))


def test_a_username_made_again_is_another_one() -> None:
    assert len({another("a" * 32) for _ in range(100)}) == 100


def test_an_edit_that_changes_nothing_leaves_the_version_alone() -> None:
    user = somebody()
    user.edit(Edit())
    user.edit(Edit(username="Ann", email="ANN.EXAMPLE@example.com"))
    assert user.profile.version == 1


def test_an_edit_changes_what_it_names_and_counts_once() -> None:
    user = somebody()
    user.edit(Edit(username="Bea", email="bea@example.com", password_hash="other"))
    assert (user.profile.username, user.profile.email) == ("Bea", "bea@example.com")
    assert (user.password_hash, user.profile.version) == ("other", 2)


def test_a_password_that_changed_meanwhile_is_not_overwritten() -> None:
    user = somebody()
    with pytest.raises(Stale):
        user.edit(Edit(password_hash="new", proven_hash="older"))
    assert (user.password_hash, user.profile.version) == ("hash", 1)


def test_a_hash_is_in_no_printed_account() -> None:
    user = User.new("a@example.com", "ann", "customer", "$argon2id$secret", clock.now())
    assert "argon2" not in repr(user)
    assert "argon2" not in repr(Edit(password_hash="$argon2id$secret"))


def test_everything_that_is_taken_is_named() -> None:
    both = taken(email=True, username=True)
    assert isinstance(both, EmailTaken)
    assert [violation.field for violation in both.violations] == ["email", "username"]
    assert isinstance(taken(email=False, username=True), UsernameTaken)
    assert type(taken(email=False, username=False)) is Conflict

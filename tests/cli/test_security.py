"""`mercato security events`: what it is asked wrongly is told, and no answer."""

import pytest

from mercato.cli.security import events
from mercato.cli.terminal import WRONG_USE, exit_code
from mercato.embedded.errors import UsageError


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="'bogus' is no kind") as refusal:
        events(kind="bogus")
    assert "login.failed" in refusal.value.remedy
    assert exit_code(refusal.value) == WRONG_USE


def test_a_time_that_is_none_is_refused_alike() -> None:
    with pytest.raises(UsageError, match="'bogus' is no time"):
        events(since="bogus")

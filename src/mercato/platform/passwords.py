"""The rules of passwords, with the list of those that everybody knows."""

from functools import cache

from mercato.kernel.password_rules import PasswordRules


@cache
def common() -> frozenset[str]:
    """Returns the 30,000 passwords that leaks show most often, in lower case (zxcvbn's list).

    It is loaded when it is first asked for: that takes 0.2 s and 13 MB, and most processes never
    need it.
    """
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"])


@cache
def rules(*names: str) -> PasswordRules:
    """Returns the rules of a shop that bears these names too."""
    return PasswordRules(common(), "mercato", *names)

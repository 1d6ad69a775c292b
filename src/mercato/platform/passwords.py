"""The rules of passwords, with the list of those that everybody knows."""

from typing import Final

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from mercato.kernel.password_rules import PasswordRules

# The 30,000 passwords that leaks show most often, in lower case (zxcvbn's list).
COMMON: Final = frozenset(FREQUENCY_LISTS["passwords"])
SHOP: Final = "mercato"
RULES: Final = PasswordRules(COMMON, SHOP)

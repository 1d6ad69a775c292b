"""Which passwords are refused: those that attackers try first (NIST SP 800-63B, ASVS 5 6.2)."""

import re
import unicodedata
from collections.abc import Container, Iterator
from typing import Final

from mercato.kernel.errors import Invalid, Violation

_WORD_LENGTH_MIN: Final = 4
_ABOUT_MAX: Final = 254  # characters; no address and no username has more
_DECORATION_MAX: Final = 4  # characters around a common password that make it no better: `!`, 2026
_NO_LETTER: Final = re.compile(r"[\W\d_]+")
_EDGES: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")


class PasswordTooCommon(Invalid):
    """Everybody who guesses would guess this password soon."""


class PasswordRules:
    """Refuses what is in `common` (lower case); nothing is asked of a password but to be rare.

    `shop` is what everybody knows of the shop: its name, its host.
    """

    def __init__(self, common: Container[str], *shop: str) -> None:
        self._common = common
        self._shop = shop

    def check(self, password: str, *about: str) -> None:
        """Raises PasswordTooCommon for what breaks a rule."""
        for violation in self.violations(password, *about):
            raise PasswordTooCommon(f"the password {violation.detail}", [violation])

    def violations(self, password: str, *about: str) -> Iterator[Violation]:
        """Yields that it is a common one, or little more than `about`.

        `about` is what a stranger knows of the account beside the shop: its e-mail address, its
        username.
        """
        if self._is_common(password):
            yield Violation("password", "is one of the passwords that everybody knows")
            return
        whole = text = normal(password).casefold()
        for word in sorted(
            {word for each in (*about, *self._shop) for word in _words(each)}, key=len
        )[::-1]:
            text = text.replace(word, "")
        if text != whole and (len(_NO_LETTER.sub("", text)) < _WORD_LENGTH_MIN):
            detail = "is little more than your e-mail address, your username or the shop's name"
            yield Violation("password", detail)

    def _is_common(self, password: str) -> bool:
        text = normal(password).casefold()
        bare = _EDGES.sub("", text)
        return text in self._common or (
            len(text) - len(bare) <= _DECORATION_MAX and bare in self._common
        )


def normal(password: str) -> str:
    """Returns the one form in which a password is compared and hashed: NFC (RFC 8265, 4.2.2).

    So the same keys mean the same password on every system; no character is folded into another.
    """
    return unicodedata.normalize("NFC", password)


def _words(text: str) -> list[str]:
    text = text[:_ABOUT_MAX].casefold()
    local = text.partition("@")[0]
    parts = [text, local, *re.split(r"[\W_]+", local)]
    return [part for part in parts if len(part) >= _WORD_LENGTH_MIN]

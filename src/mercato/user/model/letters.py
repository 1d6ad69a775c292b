"""The mails that an account's changes call for."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mercato.user.model.links import Purpose


class Template(StrEnum):
    """What a mail is about, by the name of the mailer's template."""

    WELCOME = "welcome"
    VERIFY_EMAIL = "verify-email"
    RESET_PASSWORD = "reset-password"  # noqa: S105 - the name of a mail
    ALREADY_REGISTERED = "already-registered"
    PASSWORD_CHANGED = "password-changed"  # noqa: S105 - the name of a mail
    EMAIL_CHANGED = "email-changed"
    SECOND_FACTOR_ON = "second-factor-on"
    SECOND_FACTOR_OFF = "second-factor-off"


# What is noted under this name is no mail: somebody has lost the password, and is to be answered.
FORGOTTEN: Final = "forgotten"
LETTER_OF: Final = {Purpose.VERIFY: Template.VERIFY_EMAIL, Purpose.RESET: Template.RESET_PASSWORD}


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to be sent; `request` is that of the link in it, empty if it has none."""

    template: Template
    to_email: str
    request: str = ""

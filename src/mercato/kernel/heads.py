"""What may stand in a mail's head."""

import re
from collections.abc import Iterator
from typing import Final

from mercato.kernel.errors import Violation

ADDRESS_CHARACTERS_MAX: Final = 254
LOCAL_PART_CHARACTERS_MAX: Final = 64

# What ends a header line or looks like one to somebody: C0, DEL, C1, the Unicode line ends, and
# halves of characters. This Python folds some of them into new headers (CVE-2024-6923).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ENCODED_WORD = "=?"  # RFC 2047: a reader would decode it into anything at all
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"({_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?"
)


def head_violations(to_email: str, subject: str) -> Iterator[Violation]:
    """Yields what forbids these two to stand in a mail's head."""
    if problem := _problem(to_email) or _address_problem(to_email):
        yield Violation("to_email", problem)
    if problem := _problem(subject):
        yield Violation("subject", problem)


def _problem(text: str) -> str:
    if _CONTROL.search(text):
        return "must have no control characters and no line breaks"
    if _ENCODED_WORD in text:
        return f"must not contain {_ENCODED_WORD!r}"
    return ""


def _address_problem(address: str) -> str:
    found = _ADDRESS.fullmatch(address)
    if not found or len(address) > ADDRESS_CHARACTERS_MAX:
        return "must be one e-mail address, like somebody@shop.example"
    if len(found[1]) > LOCAL_PART_CHARACTERS_MAX:
        return f"must have at most {LOCAL_PART_CHARACTERS_MAX} characters before the @"
    return ""

"""What must never be written down: secrets, by the name they go under and by the form they have."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

HIDDEN: Final = "***"
# A shorter one would hide too many innocent words with it.
KNOWN_LENGTH_MIN: Final = 8

_WORDS: Final = frozenset({
    "assertion", "authorization", "cookie", "cookies", "credential", "credentials", "dsn", "jwt",
    "otp", "passcode", "passphrase", "passwd", "password", "passwords", "pwd", "secret", "secrets",
    "signature", "token", "tokens", "totp", "verifier",
})  # fmt: skip
# Words that say of what kind, length or age a secret is: `token_type`, `password_length`.
_ABOUT: Final = frozenset({
    "age", "at", "count", "endpoint", "expires", "expiry", "in", "kind", "length", "lifetime",
    "max", "min", "s", "ttl", "type",
})  # fmt: skip
_KEYS: Final = ("api", "private", "encryption", "signing")
_CODES: Final = (
    "auth",
    "authorization",
    "backup",
    "device",
    "otp",
    "recovery",
    "totp",
    "verification",
)
_PART: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")

# `//user:password@host` of an address of MongoDB, Redis or NATS, or of a URL.
_USERINFO: Final = re.compile(r"(?<=://)[^/\s@\"']{1,512}(?=@)")
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*){1,3}")
_SCHEME: Final = re.compile(r"\b(Bearer|Basic|DPoP)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.S)
# The beginning of `password=...`, `"token": "..."`, `client_secret: ...`: in a query, a form, JSON,
# a repr or a sentence, and what may follow it.
_SIGN: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]{1,40})\\?[\"']?\s?[=:]\s?(\\?[\"'])?")
_BARE: Final = re.compile(r"[^\s\"'&;,}\])\\]*")
_LINE: Final = re.compile(r"[^\"'\r\n]*")
_QUOTED: Final = {
    "'": re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL),
    '"': re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL),
    "\\'": re.compile(r"[^'\\]*"),
    '\\"': re.compile(r'[^"\\]*'),
}
_HEADERS: Final = ("authorization", "cookie")  # their values go to the end of the line

_known: set[str] = set()


def hide(secrets: Iterable[str]) -> None:
    """Remembers secrets of this process, to be hidden wherever they turn up."""
    _known.update(each for each in secrets if len(each) >= KNOWN_LENGTH_MIN)


@lru_cache(maxsize=4096)  # every line of the log asks for the same few
def is_secret_name(name: str) -> bool:
    """Whether what goes under `name` (`password`, `clientSecret`, `X-Api-Key`) is a secret."""
    words = [word.lower() for word in _PART.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    if words == ["code"] or any(word in _WORDS for word in words):
        return True
    before = set(words[:-1])
    return (words[-1] in ("code", "codes") and not before.isdisjoint(_CODES)) or (
        words[-1] in ("key", "keys") and not before.isdisjoint(_KEYS)
    )


def without_secrets(text: str) -> str:
    """Returns `text` with `***` in the place of each secret that can be told from its form."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _USERINFO.sub(HIDDEN, text)
    if "eyJ" in text:
        text = _JWT.sub(HIDDEN, text)
    if "PRIVATE KEY" in text:
        text = _PEM.sub(HIDDEN, text)
    if " " in text:
        text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    if "=" in text or ":" in text:
        text = _without_pairs(text)
    return text


def redacted(value: Any, name: str = "") -> Any:
    """Returns `value`, which goes under `name`, without secrets, however deep in it they are."""
    if name and value not in (None, "", False, True) and is_secret_name(name):
        return HIDDEN
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: redacted(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(each) for each in value]
    return value


def _without_pairs(text: str) -> str:
    parts, at = [], 0
    for found in _SIGN.finditer(text):
        name, quote = found.groups()
        if found.start() < at or not is_secret_name(name):
            continue
        value = _QUOTED.get(quote) or (_LINE if name.lower().endswith(_HEADERS) else _BARE)
        parts += [text[at : found.end()], HIDDEN]
        rest = value.match(text, found.end())
        at = rest.end() if rest else found.end()
    return "".join([*parts, text[at:]])

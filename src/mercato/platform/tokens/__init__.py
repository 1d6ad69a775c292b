"""JSON Web Tokens: who a user is, which of our services is calling, and the keys behind that."""

from mercato.platform.tokens.access import (
    ACCESS_TTL_S,
    TOKEN_BYTES_MAX,
    NoKeys,
    Tokens,
)
from mercato.platform.tokens.keys import ALGORITHMS, Algorithm, Key, KeyFile, signing
from mercato.platform.tokens.rotation import DELAY_S, UnknownKey, disown, known, published, rotate

__all__ = [
    "ACCESS_TTL_S",
    "ALGORITHMS",
    "DELAY_S",
    "TOKEN_BYTES_MAX",
    "Algorithm",
    "Key",
    "KeyFile",
    "NoKeys",
    "Tokens",
    "UnknownKey",
    "disown",
    "known",
    "published",
    "rotate",
    "signing",
]

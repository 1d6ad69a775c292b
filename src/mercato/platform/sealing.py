"""Secrets that must be read again, sealed for the database: AES-256-GCM."""

import base64
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """What was sealed has been changed, belongs elsewhere, or was sealed by another key."""


class Sealer:
    """Seals by a key of its own, derived from `secret` for one `purpose` (HKDF, RFC 5869)."""

    def __init__(self, secret: str, purpose: str) -> None:
        derive = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode())
        self._cipher = AESGCM(derive.derive(secret.encode()))

    def seal(self, text: str, about: str) -> str:
        """Returns `text` sealed; it opens only as something `about` the same thing."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), about.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, about: str) -> str:
        """Returns the text that was sealed; raises SealBroken."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            nonce, rest = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
            return self._cipher.decrypt(nonce, rest, about.encode()).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(f"what is sealed about {about} does not open") from None

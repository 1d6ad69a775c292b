"""Authenticator apps: time-based codes (RFC 6238), whose secrets are kept sealed."""

import hmac
from datetime import datetime
from typing import Final

import pyotp

from mercato.platform.sealing import Sealer

ISSUER: Final = "Mercato"
DIGITS: Final = 6
DRIFT_STEPS: Final = 1  # of 30 seconds each, for clocks that differ and for slow fingers


class Authenticators:
    """Makes secrets of 160 bits, and knows the codes that follow from them."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def new(self, user_id: str) -> tuple[str, str]:
        """Returns a new secret: as base32, and sealed for keeping."""
        secret = pyotp.random_base32()
        return secret, self._sealer.seal(secret, user_id)

    def uri(self, secret: str, email: str) -> str:
        """Returns what authenticators read from a QR code."""
        return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)

    def step(self, sealed: str, user_id: str, code: str, now: datetime) -> int | None:
        """Returns the time step, of those around `now`, whose code `code` is."""
        if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
            return None
        totp = pyotp.TOTP(self._sealer.open(sealed, user_id))
        present = totp.timecode(now)
        for step in range(present - DRIFT_STEPS, present + DRIFT_STEPS + 1):
            if hmac.compare_digest(totp.generate_otp(step), code):
                return step
        return None

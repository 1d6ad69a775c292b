"""Tokens of every kind, minted as the platform itself mints them."""

from mercato.platform.tokens import Tokens
from tests.minting import minting

__all__ = ["Minting", "bearer", "minting"]

Minting = Tokens


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}

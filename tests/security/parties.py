"""Tokens of every kind, minted as the platform itself mints them."""

from mercato.embedded.supervisor import Platform
from mercato.platform.settings import Settings, load
from mercato.platform.tokens import Tokens

Minting = Tokens


def minting(platform: Platform) -> Minting:
    """Returns what mints tokens that this platform takes for its own."""
    environment = platform.environment
    settings = load(Settings, environment)
    return Tokens.of(settings, keys_file=environment.get("JWT_KEYS_FILE", ""))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}

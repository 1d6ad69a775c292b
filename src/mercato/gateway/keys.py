"""/.well-known/jwks.json: the public keys of users' tokens, for whoever wants to check them."""

from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import Answer
from mercato.platform.tokens import Tokens

# Less than tokens.DELAY_S: who keeps it so long knows a new key before it signs.
CACHED_S: Final = 60


class PublicKey(Answer, frozen=True):
    """A JSON Web Key (RFC 7517)."""

    kty: Annotated[str, Meta(examples=["EC"])]
    crv: str
    x: str
    kid: str
    use: str
    alg: Annotated[str, Meta(examples=["ES256"])]
    y: str | UnsetType = UNSET


class PublicKeys(Answer, frozen=True):
    keys: list[PublicKey]


class KeySet:
    """What checks our tokens."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    @operation(
        "GET", "/.well-known/jwks.json", Who.ANYONE, PublicKeys, answers_with=["Cache-Control"]
    )
    async def keys(self) -> Reply:
        """Read the keys that users' tokens are signed with.

        There are none where JWT_SECRET signs them.
        """
        keys = [
            PublicKey(**{name: key[name] for name in PublicKey.__struct_fields__ if name in key})
            for key in self._tokens.published()
        ]
        return reply(PublicKeys(keys), cache_control=f"public, max-age={CACHED_S}")

"""Sign-in through an outside OpenID provider: what ties the two ends of it together."""

import hashlib
import hmac
from dataclasses import dataclass

from mercato.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from mercato.user.model.oauth import s256, unpadded


class ProviderNotFound(NotFound):
    """No such provider has been set up."""


class SignInRefused(Invalid):
    """What came back from the provider is not what this browser was sent for."""


class EmailNotVerified(Forbidden):
    """The provider does not say that the e-mail address is verified."""


class AccountNotVerified(Conflict):
    """An account has this address and has never shown that it is its own."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at a provider; `email` is empty unless the provider has verified it."""

    issuer: str
    subject: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in. All that ties its ends follows from a secret that only the browser keeps.

    So nothing is stored for somebody who may never come back; and who has the state and the
    nonce, which stand in addresses, can make neither the secret nor the verifier of them.
    """

    browser: str

    @property
    def state(self) -> str:
        return self._made("state")

    @property
    def nonce(self) -> str:
        return self._made("nonce")

    @property
    def verifier(self) -> str:
        return self._made("verifier")

    @property
    def challenge(self) -> str:
        return s256(self.verifier)

    def insist(self, state: str) -> None:
        """Raises SignInRefused unless `state` is this attempt's."""
        if not hmac.compare_digest(state, self.state):
            raise SignInRefused("this sign-in was begun elsewhere, or too long ago: begin again")

    def _made(self, purpose: str) -> str:
        return unpadded(hashlib.sha256(f"{purpose}\n{self.browser}".encode()).digest())

"""Sign-in through an outside OpenID provider, up to a code that our own front end exchanges."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from mercato.user.model.account import OPERATOR
from mercato.user.model.oauth import InvalidGrant, proves
from mercato.user.model.oauth_codes import Code
from mercato.user.model.session import Device
from mercato.user.model.sign_in import (
    AccountNotVerified,
    Attempt,
    EmailNotVerified,
    Identity,
    ProviderNotFound,
)
from mercato.user.usecase.accounts import Accounts, Registration, Users
from mercato.user.usecase.oauth_codes import Redemption
from mercato.user.usecase.second_factor import SecondFactors
from mercato.user.usecase.sessions import Granted


class Provider(Protocol):
    async def authorization_url(self, attempt: Attempt) -> str: ...

    async def identity(self, attempt: Attempt, code: str, iss: str) -> Identity:
        """Returns whom the provider's `code` stands for; raises SignInRefused, Unavailable."""
        ...


class Links(Protocol):
    async def user_of(self, identity: Identity) -> str | None: ...

    async def link(self, identity: Identity, user_id: str, at: datetime) -> None: ...


class Codes(Protocol):
    async def keep_code(self, code: Code) -> None: ...

    async def code(self, text: str, client_id: str) -> Code | None:
        """Returns the client's code without using it."""
        ...


class SignIns:
    """Accounts are linked by an address that both sides have verified, never by less."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        links: Links,
        users: Users,
        accounts: Accounts,
        factors: SecondFactors,
        codes: Codes,
        redemption: Redemption,
        clock: Callable[[], datetime],
    ) -> None:
        self._providers = providers
        self._links = links
        self._users = users
        self._accounts = accounts
        self._factors = factors
        self._codes = codes
        self._redemption = redemption
        self._clock = clock

    async def start(self, name: str, browser: str) -> str:
        """Returns where to send the browser; raises ProviderNotFound, Unavailable."""
        return await self._provider(name).authorization_url(Attempt(browser))

    async def finish(
        self, name: str, browser: str, state: str, code: str, iss: str, challenge: str
    ) -> str:
        """Returns a code for who has `challenge`'s verifier.

        Raises ProviderNotFound, SignInRefused, Unavailable, EmailNotVerified, AccountNotVerified.
        """
        attempt = Attempt(browser)
        attempt.insist(state)
        identity = await self._provider(name).identity(attempt, code, iss)
        user_id = await self._links.user_of(identity) or await self._linked(identity)
        now = self._clock()
        kept, text = Code.new(user_id, now, now, challenge)
        await self._codes.keep_code(kept)
        return text

    async def exchange(self, text: str, verifier: str, otp: str, device: Device) -> Granted:
        """Returns a session of our own.

        The provider stands for the password only: an account with a second factor asks for it.
        The code is used up by what gets past that. Raises InvalidGrant, OtpRequired, OtpWrong.
        """
        code = await self._codes.code(text, client_id="")
        if code is None:
            raise InvalidGrant("the code is not valid")
        if proves(verifier, code.challenge):
            await self._factors.admit(await self._users.get(code.user_id), otp)
        _, granted = await self._redemption.redeem(text, verifier, device)
        return granted

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise ProviderNotFound("there is no such provider")
        return self._providers[name]

    async def _linked(self, identity: Identity) -> str:
        if not identity.email:
            raise EmailNotVerified("the provider has not verified your e-mail address")
        known = await self._users.by_login(identity.email)
        if known is None:
            # nobody knows this password: one is set by the link of a reset, if ever
            wish = Registration(identity.email, secrets.token_urlsafe(48))
            user_id = (await self._accounts.register(wish, OPERATOR)).id
        elif known.profile.email_verified:
            user_id = known.profile.id
        else:
            raise AccountNotVerified(
                "an account has this e-mail address and has not verified it: sign in to it "
                "otherwise, and do so first"
            )
        await self._links.link(identity, user_id, self._clock())
        return user_id

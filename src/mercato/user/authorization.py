"""OAuth and sign-in through providers, put together for the user service."""

from mercato.kernel import clock
from mercato.platform.mongo import Store
from mercato.platform.tokens import Tokens
from mercato.user.handler.oauth import OAuthHandler
from mercato.user.providers import OpenIdProvider, fetch
from mercato.user.repository.links import MongoLinks
from mercato.user.repository.oauth import MongoOAuth
from mercato.user.repository.users import MongoUsers
from mercato.user.settings import UserSettings
from mercato.user.usecase.accounts import Accounts
from mercato.user.usecase.oauth import Authorizations, Clients
from mercato.user.usecase.oauth_codes import Redemption
from mercato.user.usecase.oauth_grants import Grants
from mercato.user.usecase.second_factor import SecondFactors
from mercato.user.usecase.sessions import Sessions
from mercato.user.usecase.sign_in import SignIns
from mercato.user.usecase.trail import Recorder


def oauth_handler(
    settings: UserSettings,
    store: Store,
    users: MongoUsers,
    accounts: Accounts,
    factors: SecondFactors,
    sessions: Sessions,
    tokens: Tokens,
    trail: Recorder,
) -> OAuthHandler:
    """Returns the handler of OAuthService with everything behind it."""
    kept = MongoOAuth(store)
    clients = Clients(kept, trail, clock.now)
    redemption = Redemption(kept, sessions, users, clock.now)
    grants = Grants(tokens.issuer, clients, redemption, sessions, tokens, clock.now)
    sign_ins = SignIns(
        _providers(settings), MongoLinks(store), users, accounts, factors, kept, redemption,
        clock.now,
    )  # fmt: skip
    authorizations = Authorizations(kept, kept, accounts.authenticate, clock.now)
    return OAuthHandler(clients, authorizations, grants, sign_ins)


def _providers(settings: UserSettings) -> dict[str, OpenIdProvider]:
    if not settings.oidc_issuer:
        return {}
    callback = f"{settings.public_url}/oauth/providers/{settings.oidc_name}/callback"
    provider = OpenIdProvider(
        settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret, callback, fetch
    )
    return {settings.oidc_name: provider}

"""OAuth 2 and OpenID Connect over HTTP; the user service decides, and these are its doors."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import grpc
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Method

from mercato.gateway.cookies import Cookies
from mercato.gateway.oauth.authorize import Authorize
from mercato.gateway.oauth.metadata import OpenId, metadata
from mercato.gateway.oauth.providers import ProviderPages, SignIns
from mercato.gateway.oauth.token import ClientEndpoints, answered
from mercato.gateway.operation import AnyRequest, options
from mercato.gateway.problems import NotConfigured
from mercato.gateway.reply import Reply, reply
from mercato.gateway.settings import GatewaySettings
from mercato.platform.rpc import Channels
from mercato.platform.tokens import Tokens

__all__ = ["resources", "routes"]

WELL_KNOWN: Final = (
    "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
)  # fmt: skip
PROVIDERS: Final = "/oauth/providers/"
KEPT_S: Final = 3600

Handler = Callable[[AnyRequest], Awaitable[Reply]]


def resources(channels: Channels, channel: grpc.aio.Channel) -> list[object]:
    """Returns what speaks JSON as the rest of the gateway does."""
    return [OpenId(channels, channel), SignIns(channels, channel)]


def routes(
    channels: Channels, channel: grpc.aio.Channel, tokens: Tokens, settings: GatewaySettings
) -> list[HTTPRouteHandler]:
    """Returns the routes that are no JSON operations: pages, forms, metadata."""
    issuer = settings.public_url
    cookies = Cookies(settings.jwt_secret, issuer)
    pages = Authorize(channels, channel, cookies, issuer)
    clients = ClientEndpoints(channels, channel)
    providers = ProviderPages(channels, channel, cookies, settings.oidc_return_url)

    async def about(request: AnyRequest) -> Reply:
        said = metadata(issuer, tokens.algorithms)
        return reply(said, cache_control=f"public, max-age={KEPT_S}")

    def route(path: str, method: Method, handler: Handler) -> HTTPRouteHandler:
        async def handle(request: AnyRequest) -> ASGIApp:
            # without a name of our own, or keys to sign under it, only others can sign somebody in
            if not (tokens.algorithms and issuer) and not path.startswith(PROVIDERS):
                raise NotConfigured(
                    "OAuth needs PUBLIC_URL and signing keys: see `mercato keys rotate`"
                )
            return await handler(request)

        return HTTPRouteHandler(path, http_method=method, status_code=200)(handle)

    table: dict[str, dict[Method, Handler]] = {
        "/oauth/authorize": {"GET": pages.get, "POST": pages.post},
        "/oauth/token": {"POST": partial(answered, clients.token)},
        "/oauth/revoke": {"POST": partial(answered, clients.revoke)},
        "/oauth/introspect": {"POST": partial(answered, clients.introspect)},
        **{path: {"GET": about} for path in WELL_KNOWN},
        f"{PROVIDERS}{{name:str}}/start": {"GET": providers.start},
        f"{PROVIDERS}{{name:str}}/callback": {"GET": providers.callback},
    }
    return [
        *(options(path, list(methods)) for path, methods in table.items()),
        *(route(path, each, table[path][each]) for path in table for each in table[path]),
    ]

"""The gRPC methods of OAuth 2 and OpenID Connect; the gateway speaks HTTP for them."""

from typing import Any, Final

from mercato.kernel.clock import rfc3339
from mercato.kernel.identity import Party
from mercato.kernel.scopes import SCOPES
from mercato.pb import oauth_pb2 as pb
from mercato.pb.oauth_pb2_grpc import OAuthServiceServicer
from mercato.platform.rpc import caller, client_of_call
from mercato.user.model.oauth import AuthorizationRequest, Client
from mercato.user.usecase.oauth import Authorizations, Clients
from mercato.user.usecase.oauth_grants import Given, Grants, Proof, Wanted, given
from mercato.user.usecase.sign_in import SignIns

_OPERATORS: Final = ("AddOAuthClient", "ListOAuthClients", "RemoveOAuthClient")
# The gateway calls in its own name: these methods find out themselves who is asking.
ALLOWED: Final[dict[str, frozenset[Party]]] = {
    method.name: frozenset(("cli",)) if method.name in _OPERATORS else frozenset(("gateway",))
    for method in pb.DESCRIPTOR.services_by_name["OAuthService"].methods
}


class OAuthHandler(OAuthServiceServicer):
    """Each method is one verb of the use cases."""

    def __init__(
        self,
        clients: Clients,
        authorizations: Authorizations,
        grants: Grants,
        sign_ins: SignIns,
    ) -> None:
        self._clients = clients
        self._authorizations = authorizations
        self._grants = grants
        self._sign_ins = sign_ins

    async def GetAuthorizationPage(
        self, request: pb.AuthorizationRequest, context: Any
    ) -> pb.AuthorizationPage:
        client, scopes = await self._authorizations.begin(_asked(request))
        shown = [pb.Scope(name=each, meaning=SCOPES[each]) for each in SCOPES if each in scopes]
        return pb.AuthorizationPage(client_name=client.name, scopes=shown)

    async def LogInToAuthorize(
        self, request: pb.AuthorizationLogin, context: Any
    ) -> pb.AuthorizationStep:
        who, code, ticket = await self._authorizations.log_in(
            _asked(request.request), request.browser,
            request.login, request.password, request.second_factor,
        )  # fmt: skip
        return pb.AuthorizationStep(code=code, ticket=ticket, username=who.username)

    async def DecideAuthorization(
        self, request: pb.AuthorizationDecision, context: Any
    ) -> pb.AuthorizationStep:
        code = await self._authorizations.decide(
            _asked(request.request), request.browser, request.ticket, allowed=request.allowed
        )
        return pb.AuthorizationStep(code=code)

    async def ExchangeGrant(self, request: pb.GrantRequest, context: Any) -> pb.GrantResponse:
        wanted = Wanted(
            request.grant_type, request.code, request.redirect_uri, request.code_verifier,
            request.refresh_token, request.scope,
        )  # fmt: skip
        return _granted(await self._grants.exchange(_proof(request), wanted, client_of_call()))

    async def RevokeToken(
        self, request: pb.ClientTokenRequest, context: Any
    ) -> pb.RevokeTokenResponse:
        await self._grants.revoke(_proof(request), request.token)
        return pb.RevokeTokenResponse()

    async def IntrospectToken(
        self, request: pb.ClientTokenRequest, context: Any
    ) -> pb.Introspection:
        said = await self._grants.introspect(_proof(request), request.token)
        known = pb.Introspection.DESCRIPTOR.fields_by_name
        told = {name: value for name, value in said.items() if name in known}
        return pb.Introspection(active=bool(said), **told)

    async def AddOAuthClient(
        self, request: pb.AddOAuthClientRequest, context: Any
    ) -> pb.AddOAuthClientResponse:
        client, secret = await self._clients.add(
            caller(), request.name, request.redirect_uris,
            public=request.public, scopes=request.scopes, grants=request.grants,
        )  # fmt: skip
        return pb.AddOAuthClientResponse(client=_shown(client), secret=secret)

    async def ListOAuthClients(
        self, request: pb.ListOAuthClientsRequest, context: Any
    ) -> pb.ListOAuthClientsResponse:
        found = await self._clients.all(caller())
        return pb.ListOAuthClientsResponse(clients=[_shown(client) for client in found])

    async def RemoveOAuthClient(self, request: pb.OAuthClientID, context: Any) -> pb.OAuthClient:
        return _shown(await self._clients.remove(caller(), request.id))

    async def StartProviderSignIn(
        self, request: pb.ProviderStart, context: Any
    ) -> pb.ProviderAuthorization:
        url = await self._sign_ins.start(request.provider, request.browser)
        return pb.ProviderAuthorization(url=url)

    async def FinishProviderSignIn(self, request: pb.ProviderAnswer, context: Any) -> pb.SignInCode:
        code = await self._sign_ins.finish(
            request.provider, request.browser, request.state, request.code, request.iss,
            request.code_challenge,
        )  # fmt: skip
        return pb.SignInCode(code=code)

    async def ExchangeSignInCode(
        self, request: pb.SignInCodeExchange, context: Any
    ) -> pb.GrantResponse:
        granted = await self._sign_ins.exchange(
            request.code, request.code_verifier, request.second_factor, client_of_call()
        )
        return _granted(given(granted))


def _asked(request: pb.AuthorizationRequest) -> AuthorizationRequest:
    return AuthorizationRequest(
        request.client_id, request.redirect_uri, request.response_type, request.scope,
        request.nonce, request.code_challenge, request.code_challenge_method, request.prompt,
    )  # fmt: skip


def _proof(request: pb.GrantRequest | pb.ClientTokenRequest) -> Proof:
    return Proof(request.client.client_id, request.client.client_secret)


def _granted(told: Given) -> pb.GrantResponse:
    return pb.GrantResponse(
        access_token=told.access_token, expires_in=told.expires_in,
        refresh_token=told.refresh_token, refresh_expires_in=told.refresh_expires_in,
        scope=" ".join(sorted(told.scopes)), id_token=told.id_token,
    )  # fmt: skip


def _shown(client: Client) -> pb.OAuthClient:
    return pb.OAuthClient(
        id=client.id, name=client.name, redirect_uris=client.redirect_uris, public=client.public,
        scopes=sorted(client.scopes), grants=sorted(client.grants),
        created_at=rfc3339(client.created_at),
    )  # fmt: skip

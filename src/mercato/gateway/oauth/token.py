"""The endpoints that OAuth clients themselves call: token, revoke, introspect."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from mercato.gateway.oauth.forms import client_of, form
from mercato.gateway.operation import AnyRequest
from mercato.gateway.problems import RETRY_AFTER_S, status_of
from mercato.gateway.reply import Reply, reply
from mercato.kernel.errors import AppError
from mercato.pb import oauth_pb2 as pb
from mercato.pb.oauth_pb2_grpc import OAuthServiceStub
from mercato.platform.rpc import Channels

# The refusals that RFC 6749, 7009 and 7662 name; the error is the slug with `_`.
_STATUS: Final = {
    "invalid-client": 401,
    "invalid-grant": 400,
    "invalid-request": 400,
    "invalid-scope": 400,
    "unauthorized-client": 400,
    "unsupported-grant-type": 400,
    "unsupported-token-type": 400,
}
_AWAY: Final = (429, 503)


class ClientEndpoints:
    """RFC 6749 3.2, RFC 7009 and RFC 7662, each over a form and a client's proof."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._oauth = OAuthServiceStub(channel)

    async def token(self, request: AnyRequest, fields: dict[str, str]) -> Reply:
        wanted = pb.GrantRequest(
            client=client_of(request, fields),
            **{name: fields.get(name, "") for name in _TOKEN_FIELDS},
        )
        given = await self._channels.call(self._oauth.ExchangeGrant, wanted)
        told: dict[str, Any] = {
            "access_token": given.access_token, "token_type": "Bearer",
            "expires_in": given.expires_in, "scope": given.scope,
        }  # fmt: skip
        if given.refresh_token:
            told["refresh_token"] = given.refresh_token
        if given.id_token:
            told["id_token"] = given.id_token
        return reply(told, pragma="no-cache")

    async def revoke(self, request: AnyRequest, fields: dict[str, str]) -> Reply:
        await self._channels.call(self._oauth.RevokeToken, _about_token(request, fields))
        return reply({})

    async def introspect(self, request: AnyRequest, fields: dict[str, str]) -> Reply:
        known = await self._channels.call(
            self._oauth.IntrospectToken, _about_token(request, fields)
        )
        said = {field.name: value for field, value in known.ListFields()}
        return reply({"active": known.active, **said})


_TOKEN_FIELDS: Final = (
    "grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "scope",
)  # fmt: skip


def _about_token(request: AnyRequest, fields: dict[str, str]) -> pb.ClientTokenRequest:
    return pb.ClientTokenRequest(client=client_of(request, fields), token=fields.get("token", ""))


async def answered(
    endpoint: Callable[[AnyRequest, dict[str, str]], Awaitable[Reply]], request: AnyRequest
) -> Reply:
    """Returns the endpoint's answer, or its refusal as RFC 6749, 5.2 writes it."""
    try:
        return await endpoint(request, await form(request))
    except AppError as refusal:
        status, error = _STATUS.get(refusal.slug), refusal.slug.replace("-", "_")
        if status is None:
            status = status_of(refusal)
            if status not in (*_AWAY, 422):
                raise
            error = "temporarily_unavailable" if status in _AWAY else "invalid_request"
        told = {"error": error, "error_description": refusal.detail}
        more = {"www_authenticate": 'Basic realm="mercato"'} if status == 401 else {}
        more |= {"retry_after": str(RETRY_AFTER_S)} if status in _AWAY else {}
        return reply(told, 400 if status == 422 else status, pragma="no-cache", **more)

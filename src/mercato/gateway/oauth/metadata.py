"""What clients read of us: the server's metadata (RFC 8414, OpenID Discovery) and who signed in."""

from typing import Annotated, Any, Final

import grpc
from msgspec import UNSET, Meta, UnsetType

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import EXAMPLE_ID, Answer
from mercato.kernel.identity import Caller
from mercato.kernel.scopes import SCOPES
from mercato.pb import user_pb2
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform.rpc import Channels

_PROOFS: Final = ["client_secret_basic", "client_secret_post", "none"]


class UserInfo(Answer, frozen=True, omit_defaults=True):
    """What the token's scopes let its client know (OpenID Connect Core, 5.3)."""

    sub: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    preferred_username: Annotated[str, Meta(description="`profile`")] | UnsetType = UNSET
    email: Annotated[str, Meta(description="`email`")] | UnsetType = UNSET
    email_verified: Annotated[bool, Meta(description="`email`")] | UnsetType = UNSET


class OpenId:
    """Who signed in, for the client that they signed in to."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._users = UserServiceStub(channel)

    @operation("GET", "/oauth/userinfo", Who.USER, UserInfo, scope="openid")
    async def userinfo(self, caller: Caller) -> Reply:
        """Read who the token stands for."""
        return await self._about(caller)

    @operation("POST", "/oauth/userinfo", Who.USER, UserInfo, refusals=[422], scope="openid")
    async def userinfo_posted(self, caller: Caller) -> Reply:
        """Read who the token stands for, as GET does.

        The token goes into `Authorization`, not into a form: there is no body.
        """
        return await self._about(caller)

    async def _about(self, caller: Caller) -> Reply:
        request = user_pb2.UserID(id=caller.id)
        who = await self._channels.call(self._users.GetUserProfile, request, speaks_for=caller)
        may = caller.scopes or frozenset(SCOPES)
        return reply(
            UserInfo(
                sub=who.id,
                preferred_username=who.username if "profile" in may else UNSET,
                email=who.email if "email" in may else UNSET,
                email_verified=who.email_verified if "email" in may else UNSET,
            )
        )


def metadata(issuer: str, algorithms: list[str]) -> dict[str, Any]:
    """Returns what both well-known documents say of the authorization server."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "service_documentation": f"{issuer}/docs",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint_auth_methods_supported": _PROOFS,
        "revocation_endpoint_auth_methods_supported": _PROOFS,
        "introspection_endpoint_auth_methods_supported": _PROOFS[:2],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash",
            "preferred_username", "email", "email_verified",
        ],
        "prompt_values_supported": ["none", "login", "consent"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }  # fmt: skip

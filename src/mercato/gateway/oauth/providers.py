"""/oauth/providers: signing in through an outside OpenID provider, and what one gets for it."""

import secrets
from typing import Annotated, Final
from urllib.parse import urlencode

import grpc

from mercato.gateway.cookies import Cookies
from mercato.gateway.oauth.forms import asked
from mercato.gateway.operation import AnyRequest, Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.sessions import SignedIn, signed_in
from mercato.gateway.shapes import Request, matching, text
from mercato.kernel.errors import AppError, Invalid, Violation
from mercato.pb import oauth_pb2 as pb
from mercato.pb.oauth_pb2_grpc import OAuthServiceStub
from mercato.platform.rpc import Channels

COOKIE: Final = "sign-in"
SIGN_IN_S: Final = 600
PROVIDER_S: Final = 8.0  # two or three requests to the provider
CODE_S: Final = 60

_ANSWER: Final = ("code", "state", "iss", "error")


class SignInCode(Request, frozen=True):
    """The code of `/oauth/providers/{name}/callback`, and what its challenge was made of."""

    code: Annotated[str, text(200)]
    code_verifier: Annotated[
        str, matching("^[A-Za-z0-9._~-]{43,128}", "must be a verifier after RFC 7636")
    ]
    otp: Annotated[str, text(64, description="For an account with a second factor.")] = ""


class SignIns:
    """Signing in elsewhere than with a password."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._oauth = OAuthServiceStub(channel)

    @operation("POST", "/api/sessions/exchange", Who.ANYONE, SignedIn, refusals=[401])
    async def exchange(self, body: SignInCode) -> Reply:
        """Exchange the code of a sign-in through a provider for a session.

        The code is good for 60 seconds, once, and for who has its verifier.
        """
        request = pb.SignInCodeExchange(
            code=body.code, code_verifier=body.code_verifier, second_factor=body.otp
        )
        given = await self._channels.call(self._oauth.ExchangeSignInCode, request)
        return signed_in(given.access_token, given, "Signed in successfully")


class ProviderPages:
    """The way to a provider and back. The browser keeps the secret that ties the two together.

    A front end of ours begins with a challenge (RFC 7636, S256), so that the code at the end is of
    no use to who has not begun; it ends at `return_url`, or, without one, as JSON.
    """

    def __init__(
        self, channels: Channels, channel: grpc.aio.Channel, cookies: Cookies, return_url: str
    ) -> None:
        self._channels = channels
        self._oauth = OAuthServiceStub(channel)
        self._cookies = cookies
        self._return_url = return_url

    async def start(self, request: AnyRequest) -> Reply:
        """Sends the browser to the provider."""
        name = request.path_params["name"]
        challenge = asked(request.scope["query_string"]).get("code_challenge", "")
        if len(challenge) != _CHALLENGE_LENGTH or not challenge.isascii():
            fault = Violation("/query/code_challenge", "must be an S256 challenge (RFC 7636)")
            raise Invalid("some fields break their rules", [fault])
        browser = secrets.token_urlsafe(32)
        start = pb.ProviderStart(provider=name, browser=browser)
        found = await self._channels.call(
            self._oauth.StartProviderSignIn, start, deadline_s=PROVIDER_S
        )
        cookie = self._cookies.write(COOKIE, f"{name} {browser} {challenge}", max_age_s=SIGN_IN_S)
        return Reply(b"", 303, location=found.url, set_cookie=cookie)

    async def callback(self, request: AnyRequest) -> Reply:
        """Takes what the provider answers by the browser."""
        name = request.path_params["name"]
        gone = self._cookies.clear(COOKIE)
        begun = (self._cookies.read(request, COOKIE) or "").split(" ")
        if len(begun) != _BEGUN_PARTS or begun[0] != name:
            return self._back(gone, error="sign_in_expired")
        try:
            code = await self._finished(request, begun)
        except AppError as refusal:
            return self._back(gone, error=refusal.slug.replace("-", "_"))
        return self._back(gone, code=code)

    async def _finished(self, request: AnyRequest, begun: list[str]) -> str:
        name, browser, challenge = begun
        said = asked(request.scope["query_string"], _ANSWER)
        if "error" in said or "code" not in said:
            raise Declined("the provider has not signed you in")
        answer = pb.ProviderAnswer(
            provider=name, browser=browser, code=said["code"], state=said.get("state", ""),
            iss=said.get("iss", ""), code_challenge=challenge,
        )  # fmt: skip
        found = await self._channels.call(
            self._oauth.FinishProviderSignIn, answer, deadline_s=PROVIDER_S
        )
        return found.code

    def _back(self, cookie: str, **told: str) -> Reply:
        if self._return_url:
            more = "&" if "?" in self._return_url else "?"
            location = f"{self._return_url}{more}{urlencode(told)}"
            return Reply(b"", 303, location=location, set_cookie=cookie)
        status = 200 if "code" in told else 403
        lives = {"expires_in": CODE_S} if "code" in told else {}
        return reply(told | lives, status, set_cookie=cookie)


class Declined(Invalid):
    """The provider, or the user there, said no."""


_CHALLENGE_LENGTH: Final = 43
_BEGUN_PARTS: Final = 3

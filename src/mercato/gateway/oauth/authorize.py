"""/oauth/authorize: a client sends a browser, somebody signs in and consents, the client hears.

A form carries the client's request from page to page; nothing of it is kept here. Each step has it
checked anew, and the browser is sent only where the user service has found the address registered.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode

import grpc

from mercato.gateway.cookies import Cookies
from mercato.gateway.oauth import pages
from mercato.gateway.oauth.forms import InvalidRequest, asked, form
from mercato.gateway.operation import AnyRequest
from mercato.gateway.problems import status_of
from mercato.gateway.reply import Reply
from mercato.kernel.errors import AppError
from mercato.pb import oauth_pb2 as pb
from mercato.pb.oauth_pb2_grpc import OAuthServiceStub
from mercato.platform.rpc import Channels

PURPOSE: Final = "authorize"  # of the forms
STATE_LENGTH_MAX: Final = 2000
LOGIN_S: Final = 5.0  # a password's hash may have to wait its turn

_REQUEST: Final = tuple(field.name for field in pb.AuthorizationRequest.DESCRIPTOR.fields)
_KEPT: Final = (*_REQUEST, "state")
_ASKED: Final = (*_KEPT, "max_age", "response_mode", "request", "request_uri")
_KNOWN: Final = (*_ASKED, "step", "csrf", "login", "password", "otp", "ticket", "answer")
# The refusals that a client hears of; the error is the slug with `_`. They come only after its
# address has been found to be its own.
_REDIRECTED: Final = frozenset((
    "invalid-request", "unauthorized-client", "unsupported-response-type", "invalid-scope",
    "access-denied", "login-required",
))  # fmt: skip
# What somebody can mend in the form, or by waiting.
_MENDABLE: Final = frozenset((
    "wrong-credentials", "otp-required", "otp-wrong", "too-many-codes", "exhausted", "invalid",
))  # fmt: skip


class Authorize:
    """RFC 6749 4.1 with RFC 7636 and RFC 9207, as the user sees it."""

    def __init__(
        self, channels: Channels, channel: grpc.aio.Channel, cookies: Cookies, issuer: str
    ) -> None:
        self._channels = channels
        self._oauth = OAuthServiceStub(channel)
        self._cookies = cookies
        self._issuer = issuer

    async def get(self, request: AnyRequest) -> Reply:
        """A client asks, by a query."""
        return await self._answered(request, lambda: _asked(request.scope["query_string"]))

    async def post(self, request: AnyRequest) -> Reply:
        """A client asks by a form, or the user answers one of ours."""
        return await self._answered(request, lambda: form(request))

    async def _answered(
        self, request: AnyRequest, read: Callable[[], Awaitable[dict[str, str]]]
    ) -> Reply:
        try:
            fields = {name: value for name, value in (await read()).items() if name in _KNOWN}
            wanted = pb.AuthorizationRequest(**{name: fields.get(name, "") for name in _REQUEST})
            return await self._stepped(request, fields, wanted)
        except AppError as refusal:
            return _shown(refusal)

    async def _stepped(
        self, request: AnyRequest, fields: dict[str, str], wanted: pb.AuthorizationRequest
    ) -> Reply:
        try:
            about = await self._channels.call(self._oauth.GetAuthorizationPage, wanted)
            _refuse_the_unusual(fields)
            if "step" not in fields:
                return self._login_page(request, about, fields)
            browser = fields.get("csrf", "")
            self._cookies.check_form(request, browser, PURPOSE)
            if fields["step"] == "login":
                return await self._log_in(request, about, fields, wanted, browser)
            return await self._decide(fields, wanted, browser)
        except AppError as refusal:
            if refusal.slug not in _REDIRECTED:
                raise
            error = refusal.slug.replace("-", "_")
            return self._back(fields, error=error, error_description=refusal.detail)

    def _login_page(
        self, request: AnyRequest, about: pb.AuthorizationPage, fields: dict[str, str],
        problem: str = "", status: int = 200,
    ) -> Reply:  # fmt: skip
        token = self._cookies.form_token(request, PURPOSE)
        return pages.login(
            about.client_name, fields["redirect_uri"], _kept(fields, csrf=token.value),
            cookie=token.cookie, problem=problem, given=fields.get("login", ""),
            status=status,
        )  # fmt: skip

    async def _log_in(
        self, request: AnyRequest, about: pb.AuthorizationPage, fields: dict[str, str],
        wanted: pb.AuthorizationRequest, browser: str,
    ) -> Reply:  # fmt: skip
        login = pb.AuthorizationLogin(
            request=wanted, login=fields.get("login", ""), password=fields.get("password", ""),
            second_factor=fields.get("otp", ""), browser=browser,
        )  # fmt: skip
        try:
            step = await self._channels.call(
                self._oauth.LogInToAuthorize, login, deadline_s=LOGIN_S
            )
        except AppError as refusal:
            if refusal.slug not in _MENDABLE:
                raise
            status = 429 if status_of(refusal) == 429 else 422
            return self._login_page(request, about, fields, _told(refusal), status)
        if step.code:
            return self._back(fields, code=step.code)
        kept = _kept(fields, csrf=browser, ticket=step.ticket)
        return pages.consent(about, step.username, fields["redirect_uri"], kept)

    async def _decide(
        self, fields: dict[str, str], wanted: pb.AuthorizationRequest, browser: str
    ) -> Reply:
        decision = pb.AuthorizationDecision(
            request=wanted, ticket=fields.get("ticket", ""), browser=browser,
            allowed=fields.get("answer") == "allow",
        )  # fmt: skip
        step = await self._channels.call(self._oauth.DecideAuthorization, decision)
        return self._back(fields, code=step.code)

    def _back(self, fields: dict[str, str], **answer: str) -> Reply:
        """Sends the browser back to the client, whose address has been found registered."""
        answer |= {"iss": self._issuer} | ({"state": fields["state"]} if "state" in fields else {})
        address = fields["redirect_uri"]
        location = f"{address}{'&' if '?' in address else '?'}{urlencode(answer)}"
        return Reply(b"", 303, location=location)


async def _asked(query: bytes) -> dict[str, str]:
    return asked(query, _ASKED)  # never a step of ours, nor a password


def _refuse_the_unusual(fields: dict[str, str]) -> None:
    """Raises InvalidRequest for what OpenID Connect knows and we do not."""
    for name in ("request", "request_uri"):
        if name in fields:
            raise InvalidRequest(f"{name} is not supported: send the parameters themselves")
    if fields.get("response_mode", "query") != "query":
        raise InvalidRequest("response_mode must be query")
    if not re.fullmatch("[0-9]*", fields.get("max_age", "")):  # every answer follows a login
        raise InvalidRequest("max_age must be a number of seconds")
    if len(fields.get("state", "")) > STATE_LENGTH_MAX:
        raise InvalidRequest(f"state has more than {STATE_LENGTH_MAX} characters")


def _kept(fields: dict[str, str], **more: str) -> dict[str, str]:
    """Returns what a form carries to the next step."""
    return {name: fields[name] for name in _KEPT if name in fields} | more


def _told(refusal: AppError) -> str:
    return _WORDS.get(refusal.slug, "That did not work. Look at what you typed, and try again.")


_WORDS: Final = {
    "wrong-credentials": "This login or this password is wrong.",
    "otp-required": "This account also wants the code of its authenticator.",
    "otp-wrong": "This code is wrong, or has been used.",
    "too-many-codes": "Too many wrong codes. Wait a quarter of an hour.",
    "exhausted": "Too many try to sign in at this moment. Wait a little, and try again.",
}


def _shown(refusal: AppError) -> Reply:
    """Returns the page for a refusal that no client may hear of."""
    status = status_of(refusal)
    if status == 500:
        raise refusal
    return pages.refusal(
        400 if status == 422 else status, _REASONS.get(refusal.slug, refusal.detail)
    )


_REASONS: Final = {
    "form-refused": "This form is too old, or another window's: go back to where you came from.",
    "unknown-client": "The program that sent you here is not known to us.",
    "wrong-redirect-uri": "The program that sent you here wants you back at an address that it "
    "has not registered. You are not sent there.",
    "login-expired": "Your sign-in is too long ago: go back to where you came from.",
}

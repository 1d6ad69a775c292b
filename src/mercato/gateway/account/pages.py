"""/account/verify and /account/reset: where mailed links lead. No script, nothing from elsewhere.

To open a page uses nothing up: scanners of mail open links too. Its form does. The form carries the
link's own token, which nobody can send who has not got the mail, so it needs no other against
forgery (CSRF), and works in a browser that keeps no cookies.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import grpc
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from mercato.gateway.oauth.forms import asked, form
from mercato.gateway.operation import AnyRequest, options
from mercato.gateway.page import rendered
from mercato.gateway.problems import headers_for, status_of
from mercato.gateway.reply import Reply
from mercato.kernel.errors import AppError
from mercato.pb import account_pb2 as pb
from mercato.pb.account_pb2_grpc import AccountServiceStub
from mercato.platform.rpc import Channels

# What a form does with its token and password.
Use = Callable[[str, str], Awaitable[None]]

TOKEN_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its form, and what it says once that has worked."""

    path: str
    title: str
    told: str
    button: str
    done: str
    asks_password: bool

    def shown(
        self, token: str, *, problem: str = "", done: bool = False, status: int = 200
    ) -> Reply:
        """Returns the page, with its form if there is a token."""
        told = self.told if token else ""
        shown = {
            "title": self.title, "problem": problem, "told": self.done if done else told,
            "token": token, "action": self.path, "button": self.button,
            "asks_password": self.asks_password,
        }  # fmt: skip
        headers = {name.replace("-", "_"): text for name, text in headers_for(status).items()}
        return rendered("account/page.html.j2", shown, status, "'self'", **headers)


VERIFY: Final = Page(
    "/account/verify", "Verify your e-mail address",
    "One click, and we know that this address is yours.", "Verify my address",
    "Thank you: your e-mail address is verified. You can close this page.", False,
)  # fmt: skip
RESET: Final = Page(
    "/account/reset", "Set a new password",
    "You are then signed out everywhere, and sign in with the new one.", "Set the password",
    "Your new password is set. You can sign in with it now.", True,
)  # fmt: skip
BROKEN: Final = "This link is not whole. Open it again from the mail."
SPENT: Final = "This link is not good any more: it was used, is too old, or a newer one was sent."


def routes(channels: Channels, channel: grpc.aio.Channel) -> list[HTTPRouteHandler]:
    """Returns the routes of both pages."""
    accounts = AccountServiceStub(channel)

    async def verify(token: str, password: str) -> None:
        await channels.call(accounts.VerifyEmail, pb.VerifyEmailRequest(token=token))

    async def reset(token: str, password: str) -> None:
        request = pb.ResetPasswordRequest(token=token, password=password)
        await channels.call(accounts.ResetPassword, request)

    return [*_of(VERIFY, verify), *_of(RESET, reset)]


def _of(page: Page, use: Use) -> list[HTTPRouteHandler]:
    @get(page.path)
    async def show(request: AnyRequest) -> ASGIApp:
        token = asked(request.scope["query_string"], ["token"]).get("token", "")
        if not 0 < len(token) <= TOKEN_MAX:
            return page.shown("", problem=BROKEN, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        return page.shown(token)

    @post(page.path, status_code=200)
    async def submit(request: AnyRequest) -> ASGIApp:
        fields = await form(request)
        token = fields.get("token", "")
        if not 0 < len(token) <= TOKEN_MAX:
            return page.shown("", problem=BROKEN, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        try:
            await use(token, fields.get("password", ""))
        except AppError as refusal:
            return _refused(page, token, refusal)
        return page.shown("", done=True)

    return [options(page.path, ["GET", "POST"]), show, submit]


def _refused(page: Page, token: str, refusal: AppError) -> Reply:
    """Returns the page with what was wrong, and the form again where it may still work."""
    status = status_of(refusal)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE:
        raise refusal
    if refusal.slug == "invalid-link":
        return page.shown("", problem=SPENT, status=status)
    details = [f"The {each.field} {each.detail}." for each in refusal.violations]
    return page.shown(token, problem=" ".join(details) or f"{refusal.detail}.", status=status)

"""/api/users/...: verification of the address, a lost password, the second factor."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import grpc
from msgspec import Meta

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.shapes import Answer, Email, Request, text
from mercato.gateway.users import GivenPassword, Password, password_violations
from mercato.kernel.errors import Violation
from mercato.kernel.identity import Caller
from mercato.pb import account_pb2 as pb
from mercato.pb.account_pb2_grpc import AccountServiceStub
from mercato.platform.rpc import Channels

LinkToken = Annotated[
    str, text(128, min_length=1, description="What stands behind `token=` in the link.")
]
Code = Annotated[
    str,
    text(
        64,
        min_length=1,
        description="Six digits of the authenticator, or a recovery code.",
        examples=["123456"],
    ),
]
# Said to everybody, whether or not there is an account.
FORGOTTEN: Final = "if the address has an account, a mail with a link is on its way to it"


class Verification(Request, frozen=True):
    token: LinkToken


class Forgotten(Request, frozen=True):
    email: Email


class NewPassword(Request, frozen=True):
    token: LinkToken
    password: Password

    @classmethod
    def further(cls, said: Mapping[str, str]) -> Iterable[Violation]:
        return password_violations(said)


class TotpBeginning(Request, frozen=True):
    password: GivenPassword


class TotpConfirmation(Request, frozen=True):
    code: Code


class TotpEnd(Request, frozen=True):
    password: GivenPassword
    code: Code


class Done(Answer, frozen=True):
    message: str


class TotpSecret(Answer, frozen=True):
    """Shown this once: what an authenticator needs."""

    secret: Annotated[str, Meta(description="Base32, for typing.")]
    uri: Annotated[str, Meta(description="`otpauth://totp/...`, for a QR code.")]


class RecoveryCodes(Answer, frozen=True):
    """Shown this once; each stands in for the authenticator, once."""

    recovery_codes: list[str]


class Account:
    """Mailed links, and the second factor."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._accounts = AccountServiceStub(channel)

    @operation("POST", "/api/users/verify-email", Who.ANYONE, Done)
    async def verify_email(self, body: Verification) -> Reply:
        """Verify an e-mail address by the link that was mailed to it."""
        await self._channels.call(
            self._accounts.VerifyEmail, pb.VerifyEmailRequest(token=body.token)
        )
        return reply(Done("the e-mail address is verified"))

    @operation(
        "POST", "/api/users/verify-email/resend", Who.USER, Done, status=202, refusals=[409, 422]
    )
    async def resend_verification(self, caller: Caller) -> Reply:
        """Have another link mailed to one's address.

        It voids the one before; at most one a minute.
        """
        request = pb.ResendVerificationRequest()
        await self._channels.call(self._accounts.ResendVerification, request, speaks_for=caller)
        return reply(Done("a mail with a link is on its way"), 202)

    @operation("POST", "/api/users/password/forgot", Who.ANYONE, Done, status=202)
    async def forgot_password(self, body: Forgotten) -> Reply:
        """Have a link mailed that sets a new password.

        Answered alike whether or not the address has an account.
        """
        request = pb.ForgotPasswordRequest(email=body.email)
        await self._channels.call(self._accounts.ForgotPassword, request)
        return reply(Done(FORGOTTEN), 202)

    @operation("POST", "/api/users/password/reset", Who.ANYONE, type(None), status=204)
    async def reset_password(self, body: NewPassword) -> Reply:
        """Set a new password by the link that was mailed.

        Every session of the account ends.
        """
        request = pb.ResetPasswordRequest(token=body.token, password=body.password)
        await self._channels.call(self._accounts.ResetPassword, request)
        return Reply(b"", 204)

    @operation("POST", "/api/users/me/totp", Who.USER, TotpSecret, refusals=[409])
    async def begin_totp(self, caller: Caller, body: TotpBeginning) -> Reply:
        """Begin a second factor (TOTP, RFC 6238).

        It is on once a first code has confirmed it.
        """
        request = pb.BeginTotpRequest(password=body.password)
        answer = await self._channels.call(self._accounts.BeginTotp, request, speaks_for=caller)
        return reply(TotpSecret(answer.secret, answer.uri))

    @operation("POST", "/api/users/me/totp/confirm", Who.USER, RecoveryCodes, refusals=[409])
    async def confirm_totp(self, caller: Caller, body: TotpConfirmation) -> Reply:
        """Turn the second factor on by a first code.

        The answer has the recovery codes, which nobody can show again.
        """
        request = pb.ConfirmTotpRequest(code=body.code)
        answer = await self._channels.call(self._accounts.ConfirmTotp, request, speaks_for=caller)
        return reply(RecoveryCodes(list(answer.recovery_codes)))

    @operation("DELETE", "/api/users/me/totp", Who.USER, type(None), status=204, refusals=[409])
    async def end_totp(self, caller: Caller, body: TotpEnd) -> Reply:
        """Turn the second factor off, by password and code."""
        request = pb.EndTotpRequest(password=body.password, code=body.code)
        await self._channels.call(self._accounts.EndTotp, request, speaks_for=caller)
        return Reply(b"", 204)

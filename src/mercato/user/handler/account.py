"""The gRPC methods of mailed links and of the second factor, and who may call them."""

from typing import Any, Final

from mercato.kernel.identity import Party
from mercato.pb import account_pb2 as pb
from mercato.pb.account_pb2_grpc import AccountServiceServicer
from mercato.platform.rpc import caller
from mercato.user.usecase.recovery import Recovery
from mercato.user.usecase.second_factor import SecondFactors

_ANYBODY: Final[frozenset[Party]] = frozenset(("customer", "admin", "gateway"))
_USERS: Final[frozenset[Party]] = frozenset(("customer", "admin"))

ALLOWED: Final[dict[str, frozenset[Party]]] = {
    "VerifyEmail": _ANYBODY,
    "ForgotPassword": _ANYBODY,
    "ResetPassword": _ANYBODY,
    "ResendVerification": _USERS,
    "BeginTotp": _USERS,
    "ConfirmTotp": _USERS,
    "EndTotp": _USERS,
}


class AccountHandler(AccountServiceServicer):
    """Each method is one verb of `Recovery` or `SecondFactors`."""

    def __init__(self, recovery: Recovery, factors: SecondFactors) -> None:
        self._recovery = recovery
        self._factors = factors

    async def VerifyEmail(
        self, request: pb.VerifyEmailRequest, context: Any
    ) -> pb.VerifyEmailResponse:
        await self._recovery.verify(request.token)
        return pb.VerifyEmailResponse()

    async def ForgotPassword(
        self, request: pb.ForgotPasswordRequest, context: Any
    ) -> pb.ForgotPasswordResponse:
        await self._recovery.forgotten(request.email)
        return pb.ForgotPasswordResponse()

    async def ResetPassword(
        self, request: pb.ResetPasswordRequest, context: Any
    ) -> pb.ResetPasswordResponse:
        await self._recovery.reset(request.token, request.password)
        return pb.ResetPasswordResponse()

    async def ResendVerification(
        self, request: pb.ResendVerificationRequest, context: Any
    ) -> pb.ResendVerificationResponse:
        await self._recovery.resend(caller())
        return pb.ResendVerificationResponse()

    async def BeginTotp(self, request: pb.BeginTotpRequest, context: Any) -> pb.BeginTotpResponse:
        secret, uri = await self._factors.begin(caller(), request.password)
        return pb.BeginTotpResponse(secret=secret, uri=uri)

    async def ConfirmTotp(
        self, request: pb.ConfirmTotpRequest, context: Any
    ) -> pb.ConfirmTotpResponse:
        codes = await self._factors.confirm(caller(), request.code)
        return pb.ConfirmTotpResponse(recovery_codes=codes)

    async def EndTotp(self, request: pb.EndTotpRequest, context: Any) -> pb.EndTotpResponse:
        await self._factors.end(caller(), request.password, request.code)
        return pb.EndTotpResponse()

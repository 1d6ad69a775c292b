"""The gRPC methods of accounts, and the roles that may call them."""

from typing import Any, Final

from mercato.kernel.clock import rfc3339
from mercato.kernel.identity import Party
from mercato.pb import user_pb2 as pb
from mercato.pb.user_pb2_grpc import UserServiceServicer
from mercato.platform.rpc import caller, client_of_call
from mercato.user.model.account import Profile, UserRole
from mercato.user.usecase.accounts import Accounts, Registration, Wish
from mercato.user.usecase.sessions import Sessions

_ANYBODY: Final[frozenset[Party]] = frozenset(("customer", "admin", "gateway"))

# Before they log in people are nobody: the gateway then calls in its own name.
ALLOWED: Final[dict[str, frozenset[Party]]] = {
    "RegisterUser": _ANYBODY | {"cli"},
    "AuthenticateUser": _ANYBODY,
    "GetUserProfile": _ANYBODY,
    "UpdateUserProfile": frozenset(("customer", "admin")),
    "BatchGetUserProfiles": frozenset(("order",)),
}


class UserHandler(UserServiceServicer):
    """Each method is one verb of `Accounts`."""

    def __init__(self, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts = accounts
        self._sessions = sessions

    async def RegisterUser(self, request: pb.UserRequest, context: Any) -> pb.UserResponse:
        role: UserRole = "admin" if request.role == "admin" else "customer"
        wish = Registration(request.email, request.password, request.username, role)
        who = await self._accounts.register(wish, caller())
        return pb.UserResponse(id=who.id, message="User registered successfully")

    async def AuthenticateUser(self, request: pb.AuthRequest, context: Any) -> pb.AuthResponse:
        login = request.email or request.username
        who = await self._accounts.authenticate(login, request.password, request.otp)
        granted = await self._sessions.open(who, client_of_call())
        return pb.AuthResponse(
            token=granted.access_token, expires_in=granted.expires_in,
            refresh_token=granted.refresh_token, refresh_expires_in=granted.refresh_expires_in,
            message="Authenticated successfully",
        )  # fmt: skip

    async def GetUserProfile(self, request: pb.UserID, context: Any) -> pb.UserProfile:
        return _message(await self._accounts.profile(request.id, caller()))

    async def UpdateUserProfile(
        self, request: pb.UpdateProfileRequest, context: Any
    ) -> pb.UserProfile:
        wish = Wish(
            username=request.username if request.HasField("username") else None,
            email=request.email if request.HasField("email") else None,
            password=request.password if request.HasField("password") else None,
            current_password=(
                request.current_password if request.HasField("current_password") else None
            ),
        )
        return _message(await self._accounts.update(request.id, wish, caller()))

    async def BatchGetUserProfiles(
        self, request: pb.BatchGetUserProfilesRequest, context: Any
    ) -> pb.BatchGetUserProfilesResponse:
        found = await self._accounts.profiles(request.ids)
        return pb.BatchGetUserProfilesResponse(profiles=[_message(who) for who in found])


def _message(who: Profile) -> pb.UserProfile:
    return pb.UserProfile(
        id=who.id, username=who.username, email=who.email, role=who.role,
        created_at=rfc3339(who.created_at), version=who.version,
        email_verified=who.email_verified,
    )  # fmt: skip

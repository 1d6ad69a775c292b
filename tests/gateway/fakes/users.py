"""Accounts in a dictionary."""

from dataclasses import dataclass, field

from mercato.kernel.errors import Conflict, Forbidden, NotFound, Unauthenticated, Violation
from mercato.kernel.identity import new_id
from mercato.pb import user_pb2, user_pb2_grpc
from mercato.platform.rpc import caller, client_of_call
from mercato.platform.tokens import Tokens
from tests.gateway.fakes.service import NOW, Context, Service
from tests.gateway.fakes.sessions import fake_sessions, of


@dataclass
class FakeUsers(Service, user_pb2_grpc.UserServiceServicer):
    tokens: Tokens = field(default_factory=lambda: Tokens("s" * 32))
    profiles: dict[str, user_pb2.UserProfile] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sessions = fake_sessions(self.tokens, self.profiles)

    async def RegisterUser(
        self, request: user_pb2.UserRequest, context: Context
    ) -> user_pb2.UserResponse:
        self.note("RegisterUser")
        if any(known.email == request.email for known in self.profiles.values()):
            raise Conflict("the e-mail address is taken", [Violation("email", "is taken")])
        user_id = self.add(request.email, request.username or request.email.split("@")[0])
        self.passwords[user_id] = request.password
        return user_pb2.UserResponse(id=user_id, message="welcome")

    def add(self, email: str, username: str, role: str = "customer") -> str:
        user_id = new_id()
        self.profiles[user_id] = user_pb2.UserProfile(
            id=user_id, username=username, email=email, role=role, created_at=NOW, version=1
        )
        return user_id

    async def AuthenticateUser(
        self, request: user_pb2.AuthRequest, context: Context
    ) -> user_pb2.AuthResponse:
        self.note("AuthenticateUser")
        for user_id, profile in self.profiles.items():
            named = request.email == profile.email or request.username == profile.username
            if named and self.passwords.get(user_id) == request.password:
                granted = await self.sessions.open(of(profile), client_of_call())
                return user_pb2.AuthResponse(
                    token=granted.access_token, expires_in=granted.expires_in,
                    refresh_token=granted.refresh_token,
                    refresh_expires_in=granted.refresh_expires_in, message="signed in",
                )  # fmt: skip
        raise Unauthenticated("wrong e-mail address, username or password")

    async def GetUserProfile(
        self, request: user_pb2.UserID, context: Context
    ) -> user_pb2.UserProfile:
        self.note("GetUserProfile")
        return self._profile(request.id)

    async def UpdateUserProfile(
        self, request: user_pb2.UpdateProfileRequest, context: Context
    ) -> user_pb2.UserProfile:
        self.note("UpdateUserProfile")
        profile = self._profile(request.id)
        if request.HasField("username"):
            profile.username = request.username
        if request.HasField("email"):
            profile.email = request.email
        return profile

    async def BatchGetUserProfiles(
        self, request: user_pb2.BatchGetUserProfilesRequest, context: Context
    ) -> user_pb2.BatchGetUserProfilesResponse:
        raise Forbidden("the gateway never asks for this")

    def _profile(self, user_id: str) -> user_pb2.UserProfile:
        if user_id not in self.profiles or not caller().owns(user_id):
            raise NotFound("there is no such user")
        return self.profiles[user_id]

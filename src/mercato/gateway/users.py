"""/api/users: registration, sign-in and profiles."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final

import grpc
from msgspec import UNSET, Meta, UnsetType

from mercato.gateway.operation import Who, operation
from mercato.gateway.reply import Reply, reply
from mercato.gateway.sessions import SignedIn, signed_in
from mercato.gateway.shapes import (
    EXAMPLE_ID,
    Answer,
    Email,
    IdOrMe,
    Parameters,
    Request,
    matching,
    text,
)
from mercato.kernel.errors import NotFound, Violation
from mercato.kernel.identity import Caller
from mercato.pb import user_pb2, user_pb2_grpc
from mercato.platform.passwords import rules
from mercato.platform.rpc import Channels

_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{2,31}"
_RULE = "must have 3 to 32 letters, digits, `_`, `.` or `-`, and begin with a letter or digit"
Username = Annotated[str, matching(f"^{_NAME}", _RULE, examples=["ada"])]
UsernameOrNone = Annotated[str, matching(f"^({_NAME})?", _RULE, examples=["ada"])]
Password = Annotated[
    str, Meta(min_length=8, max_length=256, examples=["correct horse battery staple"])
]
GivenPassword = Annotated[str, Meta(max_length=1024, examples=["correct horse battery staple"])]
ONE_LOGIN: Final = "must have either `email` or `username`"
Given = Annotated[str, text(254)]


def password_violations(said: Mapping[str, str]) -> Iterator[Violation]:
    """Yields why `password` is refused, though it has the right length."""
    about = (said.get(name, "") for name in ("email", "username"))
    return rules().violations(said.get("password", ""), *about)


class Registration(Request, frozen=True):
    email: Email
    password: Password
    username: UsernameOrNone = ""

    @classmethod
    def further(cls, said: Mapping[str, str]) -> Iterable[Violation]:
        return password_violations(said)


class Credentials(Request, frozen=True):
    """One of `email` and `username`, and the password."""

    also: ClassVar[dict[str, Any]] = {
        "oneOf": [{"required": ["email"]}, {"required": ["username"]}]
    }

    password: GivenPassword
    email: Annotated[Given, Meta(examples=["ada@example.com"])] | UnsetType = UNSET
    username: Given | UnsetType = UNSET
    otp: Annotated[
        str,
        text(
            64,
            description="Of accounts with a second factor: six digits, or a recovery code.",
            examples=["123456"],
        ),
    ] = ""

    def __post_init__(self) -> None:
        if (self.email is UNSET) == (self.username is UNSET):
            raise ValueError(ONE_LOGIN)

    @classmethod
    def further(cls, said: Mapping[str, str]) -> Iterable[Violation]:
        if ("email" in said) == ("username" in said):
            yield Violation("", ONE_LOGIN)


class ProfileChange(Request, frozen=True):
    """What is left out stays as it is.

    A new password of one's own needs the current one; an admin may set somebody else's without it.
    """

    username: Username | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    password: Password | UnsetType = UNSET
    current_password: GivenPassword | UnsetType = UNSET

    @classmethod
    def further(cls, said: Mapping[str, str]) -> Iterable[Violation]:
        return password_violations(said)


class ByIdOrMe(Parameters, frozen=True):
    id: IdOrMe


class Registered(Answer, frozen=True):
    id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    message: str


class Profile(Answer, frozen=True):
    id: Annotated[str, Meta(examples=[EXAMPLE_ID])]
    username: str
    email: str
    role: Annotated[str, Meta(description="`customer` or `admin`.", examples=["customer"])]
    created_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    email_verified: bool


class Users:
    """Accounts: who one is, and the token that says so."""

    def __init__(self, channels: Channels, channel: grpc.aio.Channel) -> None:
        self._channels = channels
        self._users = user_pb2_grpc.UserServiceStub(channel)

    @operation(
        "POST", "/api/users/register", Who.ANYONE, Registered,
        status=201, refusals=[409], answers_with=["Location"],
    )  # fmt: skip
    async def register(self, body: Registration) -> Reply:
        """Open an account.

        Without a username, one is made from the e-mail address. A mail with a link to verify the
        address follows.
        """
        request = user_pb2.UserRequest(
            username=body.username, password=body.password, email=body.email
        )
        answer = await self._channels.call(self._users.RegisterUser, request)
        location = f"/api/users/{answer.id}"
        return reply(Registered(answer.id, answer.message), 201, location=location)

    @operation("POST", "/api/users/authenticate", Who.ANYONE, SignedIn, refusals=[401])
    async def authenticate(self, body: Credentials) -> Reply:
        """Sign in with e-mail address or username.

        Where the account has a second factor, 401 with the code `otp-required` asks for `otp` too.
        The answer's token goes into `Authorization: Bearer <token>` of every other call; before it
        expires, its refresh token gets the next one from `POST /api/sessions/refresh`.
        """
        request = user_pb2.AuthRequest(
            username=body.username or "", password=body.password, email=body.email or "",
            otp=body.otp,
        )  # fmt: skip
        answer = await self._channels.call(self._users.AuthenticateUser, request)
        return signed_in(answer.token, answer, answer.message)

    @operation("GET", "/api/users/{id}", Who.USER, Profile)
    async def profile(self, caller: Caller, path: ByIdOrMe) -> Reply:
        """Read a profile: one's own, or anybody's as an admin."""
        request = user_pb2.UserID(id=_own(caller, path.id))
        return reply(
            _profile(
                await self._channels.call(self._users.GetUserProfile, request, speaks_for=caller)
            )
        )

    @operation("PATCH", "/api/users/{id}", Who.USER, Profile, refusals=[409])
    async def change(self, caller: Caller, path: ByIdOrMe, body: ProfileChange) -> Reply:
        """Change a profile."""
        return await self._change(caller, path, body)

    @operation("PUT", "/api/users/{id}", Who.USER, Profile, refusals=[409])
    async def replace(self, caller: Caller, path: ByIdOrMe, body: ProfileChange) -> Reply:
        """Change a profile, as PATCH does."""
        return await self._change(caller, path, body)

    async def _change(self, caller: Caller, path: ByIdOrMe, body: ProfileChange) -> Reply:
        request = user_pb2.UpdateProfileRequest(id=_own(caller, path.id))
        for name in body.__struct_fields__:
            if (value := getattr(body, name)) is not UNSET:
                setattr(request, name, value)
        answer = await self._channels.call(
            self._users.UpdateUserProfile, request, speaks_for=caller
        )
        return reply(_profile(answer))


def _own(caller: Caller, user_id: str) -> str:
    """Returns the id that is meant; raises NotFound when the caller may not know of it."""
    user_id = caller.id if user_id == "me" else user_id.lower()
    if not caller.owns(user_id):
        raise NotFound("there is no such user")
    return user_id


def _profile(user: user_pb2.UserProfile) -> Profile:
    return Profile(
        user.id, user.username, user.email, user.role, user.created_at, user.email_verified
    )

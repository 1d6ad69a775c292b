"""`mercato admin`: accounts of those who run the shop."""

import asyncio
import sys
from getpass import getpass
from typing import Annotated

from cyclopts import Parameter

from mercato.cli.shop import Shop
from mercato.cli.terminal import DataDir, Json, console, errors, say_json
from mercato.embedded.errors import PlatformError
from mercato.embedded.state import DEFAULT_DATA_DIR
from mercato.pb.user_pb2 import UserRequest
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform.passwords import rules
from mercato.platform.rpc import validated


def create(
    *,
    email: Annotated[str, Parameter(help="Whose; asked for when left out.")] = "",
    password: Annotated[
        str, Parameter(help="Asked for when left out, or read from standard input.")
    ] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Make an account that may do everything."""
    shop = Shop.of(data_dir)
    email = email or _asked("email")
    password = password or _new_password()
    wish = validated(
        UserRequest(email=email, password=password, role="admin"),
        lambda request: rules().violations(request.password, request.email),
    )
    made = asyncio.run(shop.call(lambda channel: UserServiceStub(channel).RegisterUser, wish))
    if json:
        say_json({"id": made.id, "email": email, "role": "admin"})
    else:
        console.print(f"{email} is now an admin (user {made.id})", markup=False)


def _new_password() -> str:
    if not sys.stdin.isatty():
        return _asked("password")
    password = getpass("password: ")
    if getpass("once more: ") != password:
        raise PlatformError("the two passwords differ")
    return password


def _asked(what: str) -> str:
    """Returns a line of standard input; on a terminal, after asking for it."""
    if sys.stdin.isatty():
        return errors.input(f"{what}: ").strip()
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise PlatformError(
            f"there is no {what}", f"give it with --{what}, or as a line of the input"
        )
    return line

"""What browsers and OAuth clients send: one text a name, in a query or a form, and credentials."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from mercato.gateway.operation import BODY_S_MAX, AnyRequest
from mercato.gateway.problems import TimedOut
from mercato.kernel.errors import Invalid, Unauthenticated
from mercato.pb import oauth_pb2

FIELDS_MAX: Final = 50
FORM: Final = "application/x-www-form-urlencoded"


class InvalidRequest(Invalid):
    """A parameter is missing, repeated or not understood (RFC 6749)."""


class InvalidClient(Unauthenticated):
    """The client's proof cannot be read (RFC 6749)."""


def asked(query: bytes, wanted: Sequence[str] = ()) -> dict[str, str]:
    """Returns the parameters of a query; raises InvalidRequest for one that is repeated.

    With `wanted` only these count; the others are left alone, as RFC 6749 has it.
    """
    try:
        text = query.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise InvalidRequest("the parameters cannot be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if wanted and name not in wanted:
            continue
        if name in found:
            raise InvalidRequest(f"{name} is given more than once")
        found[name] = value
    return found


async def form(request: AnyRequest) -> dict[str, str]:
    """Returns the fields of a form; raises InvalidRequest, TimedOut."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise InvalidRequest(f"send the parameters as `Content-Type: {FORM}`")
    try:
        async with asyncio.timeout(BODY_S_MAX):
            body = await request.body()
    except TimeoutError:
        raise TimedOut("the body did not come in time: send it again, at once") from None
    return asked(body)


def client_of(request: AnyRequest, fields: dict[str, str]) -> oauth_pb2.ClientProof:
    """Returns what the client proves itself with: one way only (RFC 6749, 2.3).

    Raises InvalidRequest, InvalidClient.
    """
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return oauth_pb2.ClientProof(
            client_id=fields.get("client_id", ""), client_secret=fields.get("client_secret", "")
        )
    if scheme.lower() != "basic":
        raise InvalidClient("a client proves itself by `Authorization: Basic`")
    if "client_secret" in fields:
        raise InvalidRequest("the client proves itself in two ways: choose one")
    try:
        pair = base64.b64decode(credentials.strip(), validate=True).decode()
        client_id, colon, secret = pair.partition(":")
        client_id, secret = (unquote_plus(each, errors="strict") for each in (client_id, secret))
    except (binascii.Error, ValueError):
        raise InvalidClient("the client's proof cannot be read") from None
    if not colon or fields.get("client_id", client_id) != client_id:
        raise InvalidClient("the client's proof cannot be read")
    return oauth_pb2.ClientProof(client_id=client_id, client_secret=secret)

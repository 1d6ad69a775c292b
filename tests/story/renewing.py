"""Keeps those signed in whom a test has signed in, however long it runs."""

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

AHEAD_S: Final = 300  # of a token's end: a request under way is never too late


@dataclass
class _SignIn:
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    renew_at: float

    @classmethod
    def of(cls, granted: Mapping[str, Any]) -> "_SignIn":
        renew_at = time.monotonic() + granted["expires_in"] - AHEAD_S
        return cls(granted["token"], granted["refresh_token"], renew_at)


# By the first token of each: headers with it stay good for as long as the session does.
_SIGN_INS: Final[dict[str, _SignIn]] = {}


def signed_in(granted: Mapping[str, Any]) -> dict[str, str]:
    """Returns headers with the token of a sign-in, which `Renewing` keeps good."""
    _SIGN_INS[granted["token"]] = _SignIn.of(granted)
    return {"Authorization": f"Bearer {granted['token']}"}


def present(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns `headers` with the token that is the present one, for clients of another kind."""
    first = headers.get("Authorization", "").removeprefix("Bearer ")
    known = _SIGN_INS.get(first)
    return {**headers} | ({"Authorization": f"Bearer {known.token}"} if known else {})


def expire(headers: Mapping[str, str]) -> None:
    """Has the token of `headers` renewed by the next request."""
    _SIGN_INS[headers["Authorization"].removeprefix("Bearer ")].renew_at = 0.0


class Renewing(httpx2.Auth):
    """Sends the present token in place of the first one, and gets the next in time."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/sessions/refresh"

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        first = request.headers.get("authorization", "").removeprefix("Bearer ")
        known = _SIGN_INS.get(first)
        if known is not None:
            if time.monotonic() > known.renew_at:
                body = {"refresh_token": known.refresh_token}
                answer = yield httpx2.Request("POST", self._url, json=body)
                await answer.aread()
                if answer.status_code == 200:
                    known = _SIGN_INS[first] = _SignIn.of(answer.json())
            request.headers["authorization"] = f"Bearer {known.token}"
        yield request

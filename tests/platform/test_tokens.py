"""Tokens: ours are known, and nothing else is, however it was made."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel.errors import Unauthenticated
from mercato.kernel.identity import Caller, new_id
from mercato.platform.tokens import TOKEN_BYTES_MAX, Tokens
from mercato.platform.tokens import access as module

SECRET = "a secret of more than thirty-two bytes"
TOKENS = Tokens(SECRET)
USER = new_id()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(
    header: dict[str, Any] | None = None,
    *,
    secret: str = SECRET,
    digest: str = "sha256",
    drop: str = "",
    **claims: Any,
) -> str:
    now = int(time.time())
    head = {"alg": "HS256", "typ": "at+jwt"} | (header or {})
    body = {"iss": "mercato", "aud": "mercato", "sub": USER, "role": "customer", "iat": now,
            "exp": now + 60, "jti": "j", "client_id": "mercato"} | claims  # fmt: skip
    body.pop(drop, None)
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(body).encode())}"
    return f"{signed}.{b64(hmac.new(secret.encode(), signed.encode(), digest).digest())}"


def test_a_token_speaks_for_whom_it_was_made() -> None:
    assert TOKENS.caller(TOKENS.access(USER, "admin")) == Caller(USER, "admin")
    assert TOKENS.caller(TOKENS.service("order")) == Caller("order", "service")
    assert TOKENS.caller(forged()) == Caller(USER, "customer"), "the forger knows the form"
    mine = TOKENS.access(USER, "admin", session=USER)
    assert TOKENS.caller(mine) == Caller(USER, "admin", USER)
    tills = TOKENS.access(USER, "customer", session=USER, scopes=["a", "b"], client_id="till")
    assert TOKENS.caller(tills) == Caller(USER, "customer", USER, frozenset("ab"))
    assert TOKENS.caller(TOKENS.client("till", ["a"])) == Caller("till", "client", "", {"a"})  # type: ignore[arg-type]


def test_a_clients_token_is_never_without_scopes() -> None:
    with pytest.raises(ValueError, match="scopes"):
        TOKENS.access(USER, "customer", client_id="till")


def test_a_revoked_sessions_token_is_refused_also_from_memory() -> None:
    revoked: set[str] = set()
    tokens = Tokens(SECRET, revoked=revoked)
    token, other = (tokens.access(USER, "customer", session=s) for s in ("a" * 24, "b" * 24))
    assert tokens.caller(token).session == "a" * 24
    revoked.add("a" * 24)
    with pytest.raises(Unauthenticated):
        tokens.caller(token)
    tokens.caller(other)


NOW = int(time.time())
FORGERIES = {
    "another secret": forged(secret="b" * 40),
    "no algorithm": forged({"alg": "none"}),
    "no signature": forged({"alg": "none"}).rpartition(".")[0] + ".",
    "another algorithm": forged({"alg": "HS512"}, digest="sha512"),
    "a shorter digest": forged({"alg": "HS384"}, digest="sha384"),
    "an unknown critical header": forged({"crit": ["exp"]}),
    "another type": forged({"typ": "JWT"}),
    "a service's type": forged({"typ": "svc+jwt"}),
    "a service's role in a user's token": forged(role="service"),
    "a user's role in a service's token": forged({"typ": "svc+jwt"}, role="admin"),
    "an unknown role": forged(role="root"),
    "a list of roles": forged(role=["customer"]),
    "another issuer": forged(iss="other"),
    "another audience": forged(aud="other"),
    "a list of audiences": forged(aud=["mercato"]),
    "no subject": forged(drop="sub"),
    "a number as subject": forged(sub=7),
    "no expiry": forged(drop="exp"),
    "no id": forged(drop="jti"),
    "an expiry in words": forged(exp="tomorrow"),
    "an endless expiry": forged(exp=float("inf")),
    "expired": forged(exp=NOW - 1),
    "from the future": forged(iat=NOW + 3600, exp=NOW + 7200),
    "no client": forged(drop="client_id"),
    "a client's, without a scope": forged(client_id="till"),
    "of our own, with a scope": forged(scope="orders:read"),
    "not valid yet": forged(nbf=NOW + 3600),
    "huge": forged(pad="x" * TOKEN_BYTES_MAX),
    "nested": f"{b64(b'[' * 1500)}.{b64(b'[' * 1000)}.",
    "empty": "",
    "dots": "..",
    "five parts": "a.b.c.d.e",
    "not ASCII": "é.ü.ß",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_nobodys(name: str) -> None:
    with pytest.raises(Unauthenticated):
        TOKENS.caller(FORGERIES[name])


@given(
    st.text(max_size=200) | st.binary(max_size=100).map(lambda data: f"{b64(data)}.{b64(data)}.")
)
def test_noise_is_nobodys(noise: str) -> None:
    with pytest.raises(Unauthenticated):
        TOKENS.caller(noise)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_with_one_changed_byte_is_nobodys(place: int, change: int) -> None:
    header, body, signature = TOKENS.access(USER, "customer").split(".")
    raw = bytearray(base64.urlsafe_b64decode(body + "=="))
    raw[place % len(raw)] ^= change
    with pytest.raises(Unauthenticated):
        TOKENS.caller(f"{header}.{b64(bytes(raw))}.{signature}")


def test_a_known_token_is_forgotten_when_it_expires() -> None:
    tokens = Tokens(SECRET)
    short = forged(exp=int(time.time()) + 1)
    tokens.caller(short)
    time.sleep(1.1)
    with pytest.raises(Unauthenticated):
        tokens.caller(short)


def test_a_services_token_is_made_anew_before_it_gets_old(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(SECRET)
    first = tokens.service("order")
    assert tokens.service("order") == first
    assert tokens.service("user") != first
    later = time.time() + 200
    monkeypatch.setattr(module.time, "time", lambda: later)  # type: ignore[attr-defined]
    assert tokens.service("order") != first


def test_a_token_does_not_show_its_secret() -> None:
    assert SECRET not in repr(TOKENS.__dict__)
    assert hashlib.sha256(SECRET.encode()).hexdigest() not in TOKENS.access(USER, "admin")

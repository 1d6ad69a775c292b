"""The rules of clients, requests and codes, without any server."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mercato.kernel import clock
from mercato.kernel.errors import AppError, Invalid
from mercato.kernel.scopes import SCOPES
from mercato.user.model.oauth import (
    GRANTS,
    AuthorizationRequest,
    Client,
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    LoginRequired,
    UnauthorizedClient,
    UnknownClient,
    UnsupportedResponseType,
    WrongRedirectUri,
    proves,
    registered,
    s256,
)
from mercato.user.model.oauth_codes import CODE_TTL_S, Code, Ticket, binding

BACK = "https://app.example/back"
VERIFIER = "v" * 43
NOW = clock.now()


def client(
    *redirect_uris: str, public: bool = False, scopes: tuple[str, ...] = ("openid",),
    grants: tuple[str, ...] = ("authorization_code",),
) -> Client:  # fmt: skip
    uris = redirect_uris or (BACK,)
    return registered("App", uris, public=public, scopes=scopes, grants=grants, now=NOW)[0]


def request(of: Client, **more: str) -> AuthorizationRequest:
    asked = AuthorizationRequest(of.id, BACK, "code", "openid", "n", s256(VERIFIER), "S256")
    return replace(asked, **more)


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example", "https://app.example:8443/back?a=b", "http://127.0.0.1:9000/back",
        "http://localhost/back", "http://[::1]:9000/", "com.example.app:/back",
    ],
)  # fmt: skip
def test_a_redirect_address_of_a_client_may_be(uri: str) -> None:
    assert client(uri).redirect_uris == (uri,)


@pytest.mark.parametrize(
    "uri",
    [
        "", "http://app.example/back", "https://app.example/#part", "https://me@app.example/",
        "https://me:pw@app.example/", "https://*.example/", "javascript:alert(1)",
        "data:text/html,",
        "https:///back", "//app.example/back", "/back", "https://app.example/a b",
        "https://app.example/\r\nx: y", "https://app.example\\@other.example/", "myapp:/back",
        "https://app.example/;\n", "ftp://app.example/", "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/", "https://app.example/'\"><script>",
        "com.example.app:javascript", "https://app.example\u3002evil.example/",
    ],
)  # fmt: skip
def test_a_redirect_address_may_not_be(uri: str) -> None:
    with pytest.raises(Invalid) as refusal:
        client(uri)
    assert [violation.field for violation in refusal.value.violations] == ["redirect_uris[0]"]


def test_everything_that_is_wrong_with_a_client_is_told_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        registered("X", ["nowhere"], public=True, scopes=["all"], grants=["implicit"], now=NOW)
    assert {violation.field for violation in refusal.value.violations} == {
        "redirect_uris[0]", "scopes", "grants"
    }  # fmt: skip


def test_a_public_client_has_no_secret_and_no_name_of_its_own_to_act_in() -> None:
    found, secret = registered(
        "App", [BACK], public=True, scopes=["openid"], grants=["authorization_code"], now=NOW
    )
    assert (secret, found.public) == ("", True)
    with pytest.raises(Invalid):
        client(public=True, grants=("client_credentials",))


def test_a_secret_is_kept_as_its_hash_and_proves_its_client_only() -> None:
    found, secret = registered(
        "App", [BACK], public=False, scopes=["orders:read"], grants=GRANTS, now=NOW
    )
    assert len(secret) >= 43
    assert secret not in repr(found)
    assert secret != found.secret_hash
    found.prove(secret)
    for wrong in ("", secret + "x", secret[:-1], found.secret_hash):
        with pytest.raises(InvalidClient):
            found.prove(wrong)


def test_a_public_client_must_send_no_secret() -> None:
    public = client(public=True)
    public.prove("")
    with pytest.raises(InvalidClient):
        public.prove("something")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"response_type": "token"}, UnsupportedResponseType),
        ({"response_type": ""}, UnsupportedResponseType),
        ({"response_type": "code id_token"}, UnsupportedResponseType),
        ({"code_challenge": ""}, InvalidRequest),
        ({"code_challenge": VERIFIER + "v"}, InvalidRequest),
        ({"code_challenge": s256(VERIFIER) + "="}, InvalidRequest),
        ({"code_challenge_method": "plain"}, InvalidRequest),
        ({"code_challenge_method": ""}, InvalidRequest),
        ({"scope": ""}, InvalidScope),
        ({"scope": "openid email"}, InvalidScope),
        ({"scope": "openid root"}, InvalidScope),
        ({"prompt": "none"}, LoginRequired),
        ({"prompt": "none login"}, InvalidRequest),
    ],
)
def test_a_request_is_refused(change: dict[str, str], refusal: type[AppError]) -> None:
    of = client()
    with pytest.raises(refusal):
        request(of, **change).granted(of)


def test_a_client_gets_only_the_grants_that_it_registered_for() -> None:
    of = client(scopes=("orders:read",), grants=("client_credentials",))
    with pytest.raises(UnauthorizedClient):
        request(of).granted(of)


@pytest.mark.parametrize(
    "uri",
    [
        BACK + "/", BACK + "?a=b", BACK + "#x", BACK.upper(), BACK + "/../other", "",
        "https://app.example.evil.example/back", "http://app.example/back", BACK + "%2f",
        BACK + " ",
    ],
)  # fmt: skip
def test_a_redirect_address_is_the_registered_one_or_nobody_is_sent_anywhere(uri: str) -> None:
    of = client()
    with pytest.raises(WrongRedirectUri):
        request(of, redirect_uri=uri).redirectable(of)
    with pytest.raises(UnknownClient):
        request(of, redirect_uri=uri).redirectable(None)


def test_a_client_in_its_own_name_may_only_read() -> None:
    of = client(scopes=tuple(SCOPES), grants=GRANTS)
    assert of.allowed("orders:read", own=True) == {"orders:read"}
    for scope in set(SCOPES) - {"orders:read"}:
        with pytest.raises(InvalidScope):
            of.allowed(scope, own=True)


@pytest.mark.parametrize(
    "scopes", [("orders:write",), ("orders:read", "orders:write"), ("openid", "profile", "email")]
)
def test_a_client_is_not_registered_for_what_it_can_never_have(scopes: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as refusal:
        client(scopes=scopes, grants=("client_credentials",))
    [told] = refusal.value.violations
    assert (told.field, "orders:read" in told.detail) == ("scopes", True)
    with pytest.raises(Invalid):
        client(grants=("authorization_code", "client_credentials"))


def test_only_the_verifier_proves_a_challenge() -> None:
    assert proves(VERIFIER, s256(VERIFIER))
    # RFC 7636, appendix B
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert proves("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", challenge)
    for wrong in ("", VERIFIER + "v", "v" * 42, s256(VERIFIER), "v" * 129, VERIFIER + "\n"):
        assert not proves(wrong, s256(VERIFIER))
    assert not proves("short", s256("short"))


def test_a_code_serves_for_what_it_was_given() -> None:
    of = client()
    code, text = Code.new("a" * 24, NOW, NOW, s256(VERIFIER), request(of), frozenset(("openid",)))
    assert text not in repr(code)
    code.redeem(BACK, VERIFIER, NOW)
    late = NOW + timedelta(seconds=CODE_TTL_S)
    for back, verifier, at in (
        (BACK, VERIFIER, late), (BACK + "/", VERIFIER, NOW), ("", VERIFIER, NOW),
        (BACK, "w" * 43, NOW), (BACK, "", NOW), (BACK, code.challenge, NOW),
    ):  # fmt: skip
        with pytest.raises(InvalidGrant):
            code.redeem(back, verifier, at)


def test_a_ticket_is_bound_to_request_and_browser() -> None:
    of = client()
    ticket, _ = Ticket.new("a" * 24, request(of), "browser", NOW)
    assert ticket.bound_to == binding(request(of), "browser")
    others = [request(of, **{name: "other"}) for name in ("scope", "nonce", "code_challenge")]
    assert ticket.bound_to not in {binding(other, "browser") for other in others}
    assert ticket.bound_to != binding(request(of), "another browser")

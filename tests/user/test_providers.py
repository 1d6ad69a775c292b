"""An outside provider's word: what of it is believed, and what is not."""

import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from mercato.kernel.errors import Unavailable
from mercato.user.model.oauth import unpadded
from mercato.user.model.sign_in import Attempt, Identity, SignInRefused
from mercato.user.providers import OpenIdProvider, fetch

ISSUER = "https://id.example"
ATTEMPT = Attempt("b" * 43)
BACK = "https://shop.example/oauth/providers/id/callback"


class Provider:
    """An OpenID provider in a dictionary; `said` is what its ID token says."""

    def __init__(self) -> None:
        self.key: Any = ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256"})
        self.header: dict[str, Any] = {"alg": "ES256", "kid": "one"}
        self.published: Any = None
        self.token = ""
        now = int(time.time())
        self.said: dict[str, Any] = {
            "iss": ISSUER, "aud": "shop", "sub": "42", "iat": now, "exp": now + 300,
            "nonce": ATTEMPT.nonce, "email": "ada@example.com", "email_verified": True,
        }  # fmt: skip
        self.about: dict[str, Any] = {
            "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token", "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
        }  # fmt: skip
        self.info: dict[str, Any] = {"sub": "42"}
        self.asked: list[tuple[str, Mapping[str, str] | None, Mapping[str, str]]] = []
        self.ours = OpenIdProvider(ISSUER, "shop", "secret: of ours", BACK, self.fetch)

    def fetch(
        self, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        self.asked.append((url, form, headers))
        published = self.published or self.key
        token = self.token or jwt.encode(
            self.header, self.said, self.key, algorithms=[self.header["alg"]]
        )
        return {
            "/openid-configuration": self.about,
            "/keys": {"keys": [published.as_dict(private=published.key_type == "oct")]},
            "/token": {"id_token": token, "access_token": "at"},
            "/userinfo": self.info,
        }[url[url.rindex("/") :]]

    async def identity(self, iss: str = "") -> Identity:
        return await self.ours.identity(ATTEMPT, "the code", iss)


async def test_the_browser_is_sent_with_everything_that_ties_the_answer_to_it() -> None:
    url = await Provider().ours.authorization_url(ATTEMPT)
    assert url.startswith(f"{ISSUER}/authorize?response_type=code&client_id=shop&")
    for part in (ATTEMPT.state, ATTEMPT.nonce, ATTEMPT.challenge, "code_challenge_method=S256"):
        assert part in url
    assert ATTEMPT.verifier not in url
    assert ATTEMPT.browser not in url


async def test_a_good_answer_is_an_identity() -> None:
    provider = Provider()
    assert await provider.identity() == Identity(ISSUER, "42", "ada@example.com")
    (_, form, headers) = next(asked for asked in provider.asked if asked[1] is not None)
    assert form is not None
    assert (form["code_verifier"], form["redirect_uri"]) == (ATTEMPT.verifier, BACK)
    proof = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert proof == "shop:secret%3A%20of%20ours"


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"}, {"iss": None}, {"aud": "another"}, {"aud": None},
        {"aud": ["shop", "another"]}, {"aud": ["shop", "another"], "azp": "another"},
        {"nonce": "another"}, {"nonce": None}, {"exp": 1_700_000_000}, {"exp": None},
        {"iat": None}, {"sub": None}, {"sub": ""}, {"sub": 42}, {"sub": "x" * 256},
        {"iat": 4_000_000_000},
    ],
    ids=str,
)  # fmt: skip
async def test_a_token_that_is_not_for_us_now_is_refused(change: dict[str, Any]) -> None:
    provider = Provider()
    provider.said |= change
    provider.said = {name: value for name, value in provider.said.items() if value is not None}
    with pytest.raises(SignInRefused):
        await provider.identity()


async def test_a_token_signed_by_another_key_is_refused() -> None:
    provider = Provider()
    provider.published = ECKey.generate_key("P-256", {"kid": "one"})
    with pytest.raises(SignInRefused):
        await provider.identity()


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
async def test_only_algorithms_of_key_pairs_are_believed(algorithm: str) -> None:
    provider = Provider()
    parts = [{"alg": algorithm, "kid": "one"}, provider.said]
    signed = ".".join(unpadded(json.dumps(part).encode()) for part in parts)
    public = provider.key.as_pem(private=False)  # what an attacker has
    provider.token = f"{signed}.{unpadded(hmac.digest(public, signed.encode(), 'sha256'))}"
    with pytest.raises(SignInRefused):
        await provider.identity()
    provider.token = signed + "."
    with pytest.raises(SignInRefused):
        await provider.identity()


async def test_a_shared_secret_among_the_published_keys_is_no_key() -> None:
    provider = Provider()
    provider.key = OctKey.import_key("a secret of thirty-two bytes or more", {"kid": "one"})
    provider.header = {"alg": "HS256", "kid": "one"}
    with pytest.raises((SignInRefused, Unavailable)):
        await provider.identity()


async def test_an_rsa_key_is_believed_and_a_short_algorithm_list_is_kept() -> None:
    provider = Provider()
    provider.key = RSAKey.generate_key(2048, {"kid": "one"})
    provider.header = {"alg": "RS256", "kid": "one"}
    assert (await provider.identity()).subject == "42"
    provider.header = {"alg": "RS512", "kid": "one"}
    with pytest.raises(SignInRefused):
        await provider.identity()


async def test_a_new_key_of_the_providers_is_asked_for_once() -> None:
    provider = Provider()
    await provider.identity()
    provider.key = ECKey.generate_key("P-256", {"kid": "two"})
    provider.header = {"alg": "ES256", "kid": "two"}
    provider.ours._known.forget("keys are new")  # a minute later
    assert (await provider.identity()).subject == "42"
    provider.said["nonce"] = "wrong"
    for _ in range(5):
        with pytest.raises(SignInRefused):
            await provider.identity()
    assert [url for url, _, _ in provider.asked].count(f"{ISSUER}/keys") == 2


@pytest.mark.parametrize("iss", ["https://evil.example", ISSUER + "/", "x"])
async def test_an_answer_of_another_provider_is_refused(iss: str) -> None:
    with pytest.raises(SignInRefused):
        await Provider().identity(iss)


async def test_a_provider_that_names_itself_must_do_so() -> None:
    provider = Provider()
    provider.about["authorization_response_iss_parameter_supported"] = True
    with pytest.raises(SignInRefused):
        await provider.identity("")
    assert (await provider.identity(ISSUER)).subject == "42"


@pytest.mark.parametrize("verified", [False, "true", None, 1])
async def test_an_address_counts_only_when_the_provider_has_verified_it(verified: object) -> None:
    provider = Provider()
    provider.said["email_verified"] = verified
    assert (await provider.identity()).email == ""


async def test_the_address_may_come_from_userinfo_of_the_same_subject() -> None:
    provider = Provider()
    del provider.said["email"], provider.said["email_verified"]
    provider.info |= {"email": "ada@example.com", "email_verified": True}
    assert (await provider.identity()).email == "ada@example.com"
    provider.info["sub"] = "43"
    with pytest.raises(SignInRefused):
        await provider.identity()


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"}, {"token_endpoint": "http://id.example/token"},
        {"jwks_uri": None}, {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "file:///etc/passwd"}, {"token_endpoint": ["https://id.example"]},
    ],
    ids=str,
)  # fmt: skip
async def test_a_provider_that_describes_itself_wrongly_is_not_used(change: Any) -> None:
    provider = Provider()
    provider.about |= change
    with pytest.raises(Unavailable):
        await provider.ours.authorization_url(ATTEMPT)


@pytest.mark.parametrize("url", ["http://example.com/x", "file:///etc/passwd", "ftp://a/b", ""])
def test_nothing_is_fetched_in_the_clear_from_elsewhere(url: str) -> None:
    with pytest.raises(ValueError, match="not https"):
        fetch(url, None, {})


def test_a_state_is_its_browsers_own() -> None:
    ATTEMPT.insist(ATTEMPT.state)
    for state in ("", Attempt("c" * 43).state, ATTEMPT.nonce):
        with pytest.raises(SignInRefused):
            ATTEMPT.insist(state)

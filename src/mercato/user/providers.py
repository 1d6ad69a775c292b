"""Outside OpenID providers: discovery, the code's exchange, and the ID token that comes of it.

OpenID Connect Core 3.1, Discovery 1.0, RFC 9207. The little HTTP that it needs is the standard
library's, in a few threads, with limits: a provider answers in seconds and in kilobytes.
"""

import asyncio
import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from mercato.kernel.errors import Unavailable
from mercato.platform.memory import Memory
from mercato.user.model.sign_in import Attempt, Identity, SignInRefused

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "Ed25519")  # never `none`, never a shared secret
ANSWER_S_MAX: Final = 2.0
ANSWER_BYTES_MAX: Final = 256 * 1024
KNOWN_S: Final = 3600.0  # how long a provider's description and keys are believed
KEYS_AGAIN_S: Final = 60.0  # how soon they are asked for once more, for a key that is new
LEEWAY_S: Final = 60
SUBJECT_LENGTH_MAX: Final = 255
WORKERS: Final = 4

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_EMAIL: Final = re.compile(r"[^\s@]{1,64}@[^\s@]{1,189}")

# Sends a request (url, form or None, headers) and returns the JSON object that is answered.
Fetch = Callable[[str, Mapping[str, str] | None, Mapping[str, str]], Mapping[str, Any]]
log = structlog.get_logger()


class OpenIdProvider:
    """One provider, by its issuer and what it knows us by."""

    def __init__(
        self, issuer: str, client_id: str, client_secret: str, redirect_uri: str, fetch: Fetch
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._fetch = fetch
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="provider")
        self._known: Memory[str, Mapping[str, Any]] = Memory(size_max=4, ttl_s=KNOWN_S)

    async def authorization_url(self, attempt: Attempt) -> str:
        """Returns where to send the browser; raises Unavailable."""
        about = await self._about()
        await self._keys()  # so that the way back needs one request less
        asked = {
            "response_type": "code", "client_id": self._client_id, "scope": "openid email",
            "redirect_uri": self._redirect_uri, "state": attempt.state, "nonce": attempt.nonce,
            "code_challenge": attempt.challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        endpoint = str(about["authorization_endpoint"])
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    async def identity(self, attempt: Attempt, code: str, iss: str) -> Identity:
        """Returns whom `code` stands for; raises SignInRefused, Unavailable."""
        about = await self._about()
        says_iss = about.get("authorization_response_iss_parameter_supported") is True
        if (iss or says_iss) and iss != self._issuer:
            raise SignInRefused("the answer is another provider's")
        form = {
            "grant_type": "authorization_code", "code": code,
            "redirect_uri": self._redirect_uri, "code_verifier": attempt.verifier,
        }  # fmt: skip
        answer = await self._ask(str(about["token_endpoint"]), form, self._proof(about, form))
        claims = await self._verified(str(answer.get("id_token", "")), attempt.nonce)
        if "email" not in claims and _safe(about.get("userinfo_endpoint")):
            bearer = {"Authorization": f"Bearer {answer.get('access_token')}"}
            told = await self._ask(str(about["userinfo_endpoint"]), headers=bearer)
            if told.get("sub") != claims["sub"]:
                raise self._unbelieved("userinfo")
            claims = told
        email = str(claims.get("email", "")) if claims.get("email_verified") is True else ""
        return Identity(self._issuer, claims["sub"], email if _EMAIL.fullmatch(email) else "")

    def _proof(self, about: Mapping[str, Any], form: dict[str, str]) -> dict[str, str]:
        """Proves who we are in the way that the provider knows; returns the headers for it."""
        methods = about.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" in methods:
            pair = f"{quote(self._client_id, '')}:{quote(self._client_secret, '')}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        return {}

    async def _about(self) -> Mapping[str, Any]:
        """Returns the provider's description of itself; raises Unavailable."""
        known = self._known.get("about")
        if known is None:
            known = await self._ask(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            ends = [known.get(name) for name in _ENDPOINTS]
            if known.get("issuer") != self._issuer or not all(map(_safe, ends)):
                log.error("a provider describes itself wrongly", issuer=self._issuer)
                raise Unavailable("the sign-in provider is set up wrongly")
            self._known.put("about", known)
        return known

    async def _keys(self, *, again: bool = False) -> KeySet:
        known = self._known.get("keys")
        if known is None or (again and self._known.get("keys are new") is None):
            known = await self._ask(str((await self._about())["jwks_uri"]))
            self._known.put("keys", known)
            self._known.put("keys are new", {}, ttl_s=KEYS_AGAIN_S)
        try:
            return KeySet.import_key_set({"keys": [k for k in known["keys"] if k["kty"] != "oct"]})
        except (JoseError, KeyError, TypeError, ValueError):
            raise Unavailable("the sign-in provider's keys cannot be read") from None

    async def _verified(self, token: str, nonce: str) -> Mapping[str, Any]:
        """Returns what the ID token says; raises SignInRefused unless it is for us, now."""
        rules = JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True}, exp={"essential": True}, iat={"essential": True},
        )  # fmt: skip
        try:
            claims = await self._read(token)
            rules.validate(claims)
        except (JoseError, ValueError, TypeError) as failure:
            raise self._unbelieved(type(failure).__name__) from None
        audience, subject = claims["aud"], claims["sub"]
        if (
            isinstance(audience, list)
            and len(audience) > 1
            and claims.get("azp") != self._client_id
        ):
            raise self._unbelieved("azp")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LENGTH_MAX:
            raise self._unbelieved("sub")
        return claims

    async def _read(self, token: str) -> dict[str, Any]:
        """Returns the token's claims; a key that is new is asked for."""
        try:
            return jwt.decode(token, await self._keys(), algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError):
            return jwt.decode(token, await self._keys(again=True), algorithms=ALGORITHMS).claims

    def _unbelieved(self, why: str) -> SignInRefused:
        log.warning("an ID token is refused", issuer=self._issuer, why=why)
        return SignInRefused("what the provider said of you cannot be believed: begin again")

    async def _ask(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] = {}
    ) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await loop.run_in_executor(self._pool, self._fetch, url, form, headers)
        except SignInRefused:
            raise
        except (OSError, ValueError) as failure:  # also what a URL, a TLS or a JSON is wrong with
            log.warning("a provider fails", url=url, why=type(failure).__name__)
            raise Unavailable("the sign-in provider does not answer; try again") from None


_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An endpoint that sends us elsewhere is not the one that was described."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def fetch(
    url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
) -> Mapping[str, Any]:
    """Returns the JSON object at `url`, after POSTing `form` if there is one.

    Raises SignInRefused when what was sent is refused (400, 401), OSError and ValueError.
    """
    if not _safe(url):
        raise ValueError("not https")
    body = urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(url, body, {"Accept": "application/json", **headers})  # noqa: S310 - its scheme is known
    try:
        with _OPENER.open(request, timeout=ANSWER_S_MAX) as answer:
            text = answer.read(ANSWER_BYTES_MAX + 1)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        if form is not None and refusal.code in (400, 401):
            raise SignInRefused("the provider does not know this sign-in: begin again") from None
        raise
    found = json.loads(text) if len(text) <= ANSWER_BYTES_MAX else None
    if not isinstance(found, dict):
        raise ValueError("no JSON object of a decent size")
    return found


def _safe(url: object) -> bool:
    """Whether `url` is https, or http to this machine."""
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or not parts.hostname or parts.username or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)

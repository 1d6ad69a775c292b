"""OAuth 2: programs that act for a user, and what they ask for (RFC 6749, 7636, 9700; OIDC Core).

The class of a refusal is named after its error code in RFC 6749: `invalid_grant` is InvalidGrant.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mercato.kernel.errors import Forbidden, Invalid, Unauthenticated, Violation
from mercato.kernel.identity import new_id
from mercato.kernel.scopes import CLIENT_SCOPES, SCOPES

CODE: Final = "authorization_code"
REFRESH: Final = "refresh_token"
OWN: Final = "client_credentials"
GRANTS: Final = (CODE, REFRESH, OWN)

_HOST: Final = r"([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(:[0-9]{1,5})?"
_LOOPBACK: Final = r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_REST: Final = r"(/[A-Za-z0-9._~!$&'()+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()+,;=:@%/?-]*)?"
# https; http on this machine; or a scheme that belongs to an app, such as com.example.app:/back
_REDIRECT: Final = re.compile(
    rf"https://{_HOST}{_REST}|http://{_LOOPBACK}{_REST}"
    r"|[a-z][a-z0-9-]*(\.[a-z0-9-]+)+:/[A-Za-z0-9._~/-]*"
)
_S256: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class UnknownClient(Invalid):
    """Nobody has registered this client; the browser must not be sent anywhere."""


class WrongRedirectUri(Invalid):
    """The client has not registered this address; the browser must not be sent there."""


class InvalidRequest(Invalid):
    """A parameter is missing, repeated or not understood."""


class InvalidClient(Unauthenticated):
    """Nobody has this client id, or another secret; which of the two is not told."""


class InvalidGrant(Invalid):
    """The code or the refresh token is not good, or not this client's."""


class InvalidScope(Invalid):
    """A scope that there is not, or that the client may not have."""


class UnauthorizedClient(Forbidden):
    """The client is known and has not registered for this grant."""


class UnsupportedGrantType(Invalid):
    """There is no such grant here."""


class UnsupportedResponseType(Invalid):
    """Only `code` is given out."""


class UnsupportedTokenType(Invalid):
    """A token of this kind ends by itself and in no other way."""


class AccessDenied(Forbidden):
    """The user said no."""


class LoginRequired(Forbidden):
    """Nobody can be let in without being asked."""


@dataclass(frozen=True, slots=True)
class Client:
    """A program that has been registered; a public one can keep no secret and has none."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    grants: frozenset[str]
    created_at: datetime
    secret_hash: str = field(default="", repr=False)

    @property
    def public(self) -> bool:
        return not self.secret_hash

    def prove(self, secret: str) -> None:
        """Raises InvalidClient unless `secret` is the client's; a public one must send none."""
        if not hmac.compare_digest(hashed(secret) if secret else "", self.secret_hash):
            raise InvalidClient("the client or its secret is wrong")

    def insist(self, grant: str) -> None:
        """Raises UnauthorizedClient unless the client has registered for `grant`."""
        if grant not in self.grants:
            raise UnauthorizedClient(f"the client has not registered for {grant}")

    def allowed(self, scope: str, *, own: bool = False) -> frozenset[str]:
        """Returns the scopes that `scope` names; `own`: for the client itself, without a user.

        Raises InvalidScope.
        """
        wanted = frozenset(scope.split())
        mine = self.scopes & CLIENT_SCOPES if own else self.scopes
        if not wanted:
            raise InvalidScope("name at least one scope")
        if not wanted <= mine:
            raise InvalidScope(f"the client may not ask for {' '.join(sorted(wanted - mine))}")
        return wanted


def registered(
    name: str,
    redirect_uris: Sequence[str],
    *,
    public: bool,
    scopes: Sequence[str],
    grants: Sequence[str],
    now: datetime,
) -> tuple[Client, str]:
    """Returns a new client and its secret, which is told this once ("" for a public one).

    Raises Invalid naming everything that is wrong.
    """
    bad = [
        Violation(
            f"redirect_uris[{i}]",
            "must be https, http on localhost or the scheme of an app, without a fragment",
        )
        for i, uri in enumerate(redirect_uris)
        if not _REDIRECT.fullmatch(uri)
    ]
    bad += [Violation("scopes", f"{one!r} is no scope") for one in scopes if one not in SCOPES]
    bad += [Violation("grants", f"{one!r} is no grant") for one in grants if one not in GRANTS]
    if CODE in grants and not redirect_uris:
        bad.append(Violation("redirect_uris", "a client that asks users needs one"))
    if OWN in grants:
        bad += _against_its_own_name(public, scopes, grants)
    if REFRESH in grants and CODE not in grants:
        bad.append(Violation("grants", f"{REFRESH} comes of {CODE}"))
    if not scopes or not grants:
        bad.append(Violation("scopes" if not scopes else "grants", "name at least one"))
    if bad:
        raise Invalid("the client cannot be registered so", bad)
    secret = "" if public else secrets.token_urlsafe(32)
    client = Client(
        new_id(), name, tuple(redirect_uris), frozenset(scopes), frozenset(grants), now,
        hashed(secret) if secret else "",
    )  # fmt: skip
    return client, secret


def _against_its_own_name(
    public: bool, scopes: Sequence[str], grants: Sequence[str]
) -> Iterator[Violation]:
    if public:
        yield Violation("grants", f"{OWN} needs a secret, and a public client has none")
    # what else it asks for, it must ask users for
    if not CLIENT_SCOPES & set(scopes) or (CODE not in grants and set(scopes) - CLIENT_SCOPES):
        fitting = " ".join(sorted(CLIENT_SCOPES))
        yield Violation("scopes", f"{OWN} gives a client in its own name {fitting} only")


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What a client sends a browser to the authorization endpoint with."""

    client_id: str
    redirect_uri: str
    response_type: str = ""
    scope: str = ""
    nonce: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""
    prompt: str = ""

    @property
    def digest(self) -> str:
        """What stands for this very request."""
        parts = (
            self.client_id, self.redirect_uri, self.scope, self.nonce, self.code_challenge,
            self.prompt,
        )  # fmt: skip
        return hashed("\n".join(parts))

    def redirectable(self, client: Client | None) -> Client:
        """Returns the client, once it is sure that the answer may go to `redirect_uri`.

        Raises UnknownClient, WrongRedirectUri.
        """
        if client is None:
            raise UnknownClient("there is no such client")
        if self.redirect_uri not in client.redirect_uris:
            raise WrongRedirectUri("the client has not registered this redirect_uri")
        return client

    def granted(self, client: Client) -> frozenset[str]:
        """Returns the scopes that are asked for, once everything is in order.

        Raises UnsupportedResponseType, UnauthorizedClient, InvalidRequest, InvalidScope,
        LoginRequired.
        """
        if self.response_type != "code":
            raise UnsupportedResponseType("response_type must be `code`")
        client.insist(CODE)
        if self.code_challenge_method != "S256" or not _S256.fullmatch(self.code_challenge):
            raise InvalidRequest("send a code_challenge with code_challenge_method S256 (RFC 7636)")
        prompts = set(self.prompt.split())
        if "none" in prompts and len(prompts) > 1:
            raise InvalidRequest("prompt=none stands alone")
        scopes = client.allowed(self.scope)
        if "none" in prompts:
            raise LoginRequired("every authorization asks for a login here")
        return scopes


def hashed(secret: str) -> str:
    """Returns what is kept of a random secret of 256 bits, which needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def proves(verifier: str, challenge: str) -> bool:
    """Whether `verifier` is what `challenge` was made of (RFC 7636, S256)."""
    return bool(_VERIFIER.fullmatch(verifier)) and hmac.compare_digest(s256(verifier), challenge)


def s256(verifier: str) -> str:
    """Returns the S256 challenge of `verifier`."""
    return unpadded(hashlib.sha256(verifier.encode()).digest())


def at_hash(access_token: str, algorithm: str) -> str:
    """Returns half of the token's hash, by the hash of the signature (OIDC Core, 3.1.3.6)."""
    name = "sha512" if algorithm == "Ed25519" else "sha256"
    digest = hashlib.new(name, access_token.encode()).digest()
    return unpadded(digest[: len(digest) // 2])


def unpadded(data: bytes) -> str:
    """Returns base64url without padding, as JOSE and PKCE write it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

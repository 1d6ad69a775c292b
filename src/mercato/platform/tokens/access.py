"""Access tokens of users and clients (RFC 9068, `typ: at+jwt`) and of our services (`svc+jwt`).

With keys configured users' tokens are signed by them and by nothing else; without, and for services
always, it is HS256 by JWT_SECRET. What a token says of keys is never followed: its header may hold
`alg`, `typ` and `kid`, and each of the three must be what we would have written (RFC 8725).
"""

import base64
import json
import re
import time
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from mercato.kernel.errors import Unauthenticated, Unavailable
from mercato.kernel.identity import Caller, Role, new_id
from mercato.platform.memory import Memory
from mercato.platform.settings import Settings, SettingsError
from mercato.platform.tokens.keys import Key, KeyFile, signing

ACCESS_TTL_S: Final = 900
SERVICE_TTL_S: Final = 300
TOKEN_BYTES_MAX: Final = 4096
ISSUER: Final = "mercato"  # of services' tokens, and of users' where there is no PUBLIC_URL
AUDIENCE: Final = "mercato"
OURSELVES: Final = "mercato"  # the client_id of who signed in with us directly
LEEWAY_S: Final = 5

_ACCESS, _SERVICE = "at+jwt", "svc+jwt"
_HS256: Final = "HS256"
_REQUIRED: Final = {
    _ACCESS: ("iss", "aud", "sub", "role", "client_id", "iat", "exp", "jti"),
    _SERVICE: ("iss", "aud", "sub", "role", "iat", "exp", "jti"),
}
_ROLES: Final = {_ACCESS: ("customer", "admin", "client"), _SERVICE: ("service",)}
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_HEADER: Final = frozenset(("alg", "typ", "kid"))


class NoKeys(Unavailable):
    """This needs signing keys, and only JWT_SECRET is configured."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A token that holds; `key_id` is empty when it was signed by the secret."""

    caller: Caller
    key_id: str
    claims: Mapping[str, Any]


class Tokens:
    """Mints and reads the platform's tokens; what was read once is remembered until it expires.

    `revoked` holds the ids of sessions whose tokens are refused although they have not expired.
    """

    access_ttl_s: Final = ACCESS_TTL_S

    def __init__(
        self,
        secret: str,
        *,
        issuer: str = "",
        public: KeyFile | None = None,
        private: KeyFile | None = None,
        revoked: Container[str] = frozenset(),
    ) -> None:
        self._secret = OctKey.import_key(secret.encode())
        self._issuer = issuer or ISSUER
        self._public, self._private = public, private
        self._revoked = revoked
        self._known: Memory[str, _Read] = Memory(size_max=10_000, ttl_s=ACCESS_TTL_S)
        self._service: dict[str, tuple[float, str]] = {}

    @classmethod
    def of(
        cls, s: Settings, *, keys_file: str | None = None, revoked: Container[str] = frozenset()
    ) -> "Tokens":
        """Returns what `s` describes; `keys_file` is for the one service that mints for users.

        Raises SettingsError when the key files will not do, or only one of the two is given.
        """
        if keys_file is not None and bool(keys_file) != bool(s.jwt_jwks_file):
            raise SettingsError("JWT_KEYS_FILE and JWT_JWKS_FILE go together: give both or none")
        public = KeyFile(Path(s.jwt_jwks_file)) if s.jwt_jwks_file else None
        private = KeyFile(Path(keys_file)) if keys_file else None
        if public and private and not private.published(public):
            told = "mercato keys rotate makes one"
            raise SettingsError(f"{public.path} has not the key that signs: {told}")
        return cls(
            s.jwt_secret, issuer=s.public_url, public=public, private=private, revoked=revoked
        )

    @property
    def issuer(self) -> str:
        return self._issuer

    @property
    def algorithm(self) -> str:
        """What users' tokens are signed with by keys; empty without keys, raises NoKeys."""
        return self._signing(self._public).algorithm if self._public else ""

    @property
    def algorithms(self) -> list[str]:
        """What tokens that hold may be signed with by keys."""
        return sorted({key.algorithm for key in self._public.known()}) if self._public else []

    def published(self) -> list[dict[str, Any]]:
        """Returns the public keys for everybody (RFC 7517); none without keys."""
        keys = self._public.known() if self._public else []
        return [key.document(private=False) for key in keys]

    def access(
        self,
        user_id: str,
        role: Role,
        *,
        session: str = "",
        scopes: Collection[str] = (),
        client_id: str = "",
    ) -> str:
        """Returns a user's access token, good for ACCESS_TTL_S seconds.

        `client_id` names the client that a user has given `scopes` to; both or neither.
        """
        if bool(scopes) != bool(client_id):
            raise ValueError("a client's token needs scopes, and a token of our own has none")
        claims: dict[str, Any] = {"role": role, "client_id": client_id or OURSELVES}
        claims |= {"sid": session} if session else {}
        claims |= {"scope": " ".join(scopes)} if scopes else {}
        return self._mint(_ACCESS, self._issuer, user_id, claims, ACCESS_TTL_S)

    def client(self, client_id: str, scopes: Collection[str]) -> str:
        """Returns the access token of a client that speaks for nobody but itself."""
        return self.access(client_id, "client", scopes=scopes, client_id=client_id)

    def identity(self, claims: Mapping[str, object]) -> str:
        """Returns `claims` as a signed JWT for others, such as an ID token; raises NoKeys."""
        if self._private is None:
            raise NoKeys("there are no signing keys: see `mercato keys rotate`")
        return self._signed("JWT", dict(claims))

    def service(self, name: str) -> str:
        """Returns a service's own token; made anew before it gets old."""
        renew_at, token = self._service.get(name, (0.0, ""))
        if time.time() >= renew_at:
            token = self._mint(_SERVICE, ISSUER, name, {"role": "service"}, SERVICE_TTL_S)
            self._service[name] = (time.time() + SERVICE_TTL_S / 2, token)
        return token

    def caller(self, token: str) -> Caller:
        """Returns who `token` speaks for; raises Unauthenticated when it is not one of ours."""
        if len(token) > TOKEN_BYTES_MAX:
            raise Unauthenticated("the token is too long")
        known = self._known.get(token)
        if known is None or not self._trusted(known.key_id):
            known = self._read(token)
            self._known.put(token, known, ttl_s=known.claims["exp"] - time.time())
        if known.caller.session and known.caller.session in self._revoked:
            raise Unauthenticated("the session has ended: sign in again")
        return known.caller

    def claims(self, token: str) -> Mapping[str, Any]:
        """Returns what a good token says; raises Unauthenticated."""
        self.caller(token)
        return self._read(token).claims

    def _trusted(self, key_id: str) -> bool:
        """Whether what was remembered of this key's token still counts."""
        return not key_id or (self._public is not None and self._public.find(key_id) is not None)

    def _mint(
        self, kind: str, issuer: str, subject: str, more: Mapping[str, Any], ttl_s: int
    ) -> str:
        now = int(time.time())
        claims = {"iss": issuer, "aud": AUDIENCE, "sub": subject, **more}
        return self._signed(kind, claims | {"iat": now, "exp": now + ttl_s, "jti": new_id()})

    def _signed(self, kind: str, claims: dict[str, Any]) -> str:
        if kind == _SERVICE or self._public is None:
            header = {"alg": _HS256, "typ": kind}
            return jwt.encode(header, claims, self._secret, algorithms=[_HS256])
        key = self._signing(self._public)
        header = {"alg": key.algorithm, "typ": kind, "kid": key.id}
        return jwt.encode(header, claims, key.jwk, algorithms=[key.algorithm])

    def _signing(self, public: KeyFile) -> Key:
        """Returns the key that signs now: one that those who check tokens know."""
        if self._private is None:
            raise NoKeys("only the user service has the keys that sign users' tokens")
        key = signing(self._private.published(public))
        if key is None:
            raise NoKeys("no key that signs is published: see `mercato keys rotate`")
        return key

    def _read(self, token: str) -> _Read:
        header = _header(token)
        kind, key_id = header["typ"], header.get("kid", "")
        if kind == _SERVICE or self._public is None:
            if key_id:
                raise _not_valid()
            claims = _verified(token, header, self._secret, _HS256)
        else:
            key = self._public.find(key_id)
            if key is None:
                raise _not_valid()
            claims = _verified(token, header, key.jwk, key.algorithm)
        issuer = ISSUER if kind == _SERVICE else self._issuer
        return _Read(_caller(kind, issuer, claims), key_id, claims)


def _not_valid() -> Unauthenticated:
    return Unauthenticated("the token is not valid")


def _header(token: str) -> dict[str, str]:
    """Returns the header, when it has the form of ours; raises Unauthenticated."""
    if not _FORM.fullmatch(token):
        raise _not_valid()
    head = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise _not_valid() from None
    if not isinstance(header, dict) or not {"alg", "typ"} <= set(header) <= _HEADER:
        raise _not_valid()
    if not all(isinstance(value, str) for value in header.values()) or header["typ"] not in _ROLES:
        raise _not_valid()
    return header


def _verified(token: str, header: Mapping[str, str], key: Any, algorithm: str) -> dict[str, Any]:
    """Returns the claims of a token that `key` has signed with its one algorithm."""
    if header["alg"] != algorithm:
        raise _not_valid()
    try:
        return jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError, TypeError, UnicodeError, RecursionError):
        raise _not_valid() from None


def _caller(kind: str, issuer: str, claims: Mapping[str, Any]) -> Caller:
    now = time.time()
    if any(name not in claims for name in _REQUIRED[kind]) or claims["role"] not in _ROLES[kind]:
        raise _not_valid()
    if any(type(claims.get(name, 0)) is not int for name in ("exp", "iat", "nbf")):
        raise _not_valid()
    texts = (claims.get(name, "") for name in ("sub", "jti", "sid", "scope", "client_id"))
    if claims["iss"] != issuer or claims["aud"] != AUDIENCE or not all(map(_is_text, texts)):
        raise _not_valid()
    if claims["exp"] <= now:
        raise Unauthenticated("the token has expired")
    if max(claims["iat"], claims.get("nbf", 0)) > now + LEEWAY_S:
        raise Unauthenticated("the token is not valid yet")
    scopes = frozenset(claims.get("scope", "").split())
    ours = claims.get("client_id", OURSELVES) == OURSELVES
    if bool(scopes) == ours or (ours and claims["role"] == "client"):
        raise _not_valid()  # a client without scopes would count as the user in person
    return Caller(claims["sub"], cast(Role, claims["role"]), claims.get("sid", ""), scopes)


def _is_text(value: object) -> bool:
    return isinstance(value, str)

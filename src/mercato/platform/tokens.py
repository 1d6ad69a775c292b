"""JSON Web Tokens: who a user is, and which of our services is calling.

Access tokens follow RFC 9068 (`typ: at+jwt`), service tokens are ours (`typ: svc+jwt`) and live
for minutes. One algorithm, and only it, is accepted (RFC 8725).
"""

import time
from typing import Any, Final, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from mercato.kernel.errors import Unauthenticated
from mercato.kernel.identity import Caller, Role, new_id
from mercato.platform.memory import Memory

ALGORITHM: Final = "HS256"
ACCESS_TTL_S: Final = 3600
SERVICE_TTL_S: Final = 300
TOKEN_BYTES_MAX: Final = 4096
ISSUER: Final = "mercato"
LEEWAY_S: Final = 5

_REQUIRED = ("iss", "aud", "sub", "role", "iat", "exp", "jti")
_ROLES = {"at+jwt": ("customer", "admin"), "svc+jwt": ("service",)}


class Tokens:
    """Mints and reads the platform's tokens; what was read once is remembered until it expires."""

    def __init__(self, secret: str) -> None:
        self._key = OctKey.import_key(secret.encode())
        self._known: Memory[str, Caller] = Memory(size_max=10_000, ttl_s=ACCESS_TTL_S)
        self._service: dict[str, tuple[float, str]] = {}

    def access(self, user_id: str, role: Role) -> str:
        """Returns a user's access token, good for ACCESS_TTL_S seconds."""
        return self._mint("at+jwt", user_id, role, ACCESS_TTL_S)

    def service(self, name: str) -> str:
        """Returns a service's own token; made anew before it gets old."""
        renew_at, token = self._service.get(name, (0.0, ""))
        if time.time() >= renew_at:
            token = self._mint("svc+jwt", name, "service", SERVICE_TTL_S)
            self._service[name] = (time.time() + SERVICE_TTL_S / 2, token)
        return token

    def caller(self, token: str) -> Caller:
        """Returns who `token` speaks for; raises Unauthenticated when it is not one of ours."""
        known = self._known.get(token)
        if known is not None:
            return known
        if len(token) > TOKEN_BYTES_MAX:
            raise Unauthenticated("the token is too long")
        try:
            read = jwt.decode(token, self._key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError, UnicodeError):
            raise Unauthenticated("the token is not valid") from None
        caller, left_s = _caller(read.header, read.claims)
        self._known.put(token, caller, ttl_s=left_s)
        return caller

    def _mint(self, kind: str, subject: str, role: Role, ttl_s: int) -> str:
        now = int(time.time())
        header = {"alg": ALGORITHM, "typ": kind}
        claims = {"iss": ISSUER, "aud": ISSUER, "sub": subject, "role": role}
        claims |= {"iat": now, "exp": now + ttl_s, "jti": new_id()}  # type: ignore[dict-item]
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])


def _caller(header: dict[str, Any], claims: dict[str, Any]) -> tuple[Caller, float]:
    """Returns the caller and for how many seconds the token still holds."""
    now = time.time()
    roles = _ROLES.get(str(header.get("typ")), ())
    if any(name not in claims for name in _REQUIRED) or claims["role"] not in roles:
        raise Unauthenticated("the token is not valid")
    if not (isinstance(claims["exp"], int) and isinstance(claims["iat"], int)):
        raise Unauthenticated("the token is not valid")
    if claims["iss"] != ISSUER or claims["aud"] != ISSUER or not isinstance(claims["sub"], str):
        raise Unauthenticated("the token is not valid")
    if claims["exp"] <= now:
        raise Unauthenticated("the token has expired")
    if claims["iat"] > now + LEEWAY_S:
        raise Unauthenticated("the token is not valid yet")
    return Caller(claims["sub"], cast(Role, claims["role"])), claims["exp"] - now

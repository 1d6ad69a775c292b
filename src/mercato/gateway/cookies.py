"""Cookies that nobody else can write, and forms that nobody else can send (CSRF).

Every cookie is signed together with its name and its end, and is HttpOnly and SameSite=Lax; under
https it is Secure too, and its name begins with `__Host-`, so that no sister domain can set it.

A form carries a token that fits a random value in a cookie of the same browser (the signed
double submit of OWASP's cheat sheet), for one purpose and, where somebody is signed in, for one
subject. A page asks `form_token` and hands out `FormToken.cookie`; what receives the form asks
`check_form` first.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request

from mercato.kernel import clock
from mercato.kernel.errors import Forbidden

FORM_COOKIE: Final = "form"
FORM_S: Final = 3600
VALUE_CHARS_MAX: Final = 3000  # a browser keeps 4096 of a whole cookie
AnyRequest = Request[Any, Any, Any]


class FormRefused(Forbidden):
    """A form that did not come from a page of ours in the same browser."""


@dataclass(frozen=True, slots=True)
class FormToken:
    """What a form carries in a hidden field, and the `Set-Cookie` that goes out with its page."""

    value: str
    cookie: str


class Cookies:
    """Writes and reads the cookies of the site at `public_url`; `secret` signs them."""

    def __init__(self, secret: str, public_url: str) -> None:
        self._key = hmac.digest(secret.encode(), b"mercato cookies", hashlib.sha256)
        url = urlsplit(public_url)
        self._origin = f"{url.scheme}://{url.netloc}".lower()
        self._prefix = "__Host-" if url.scheme == "https" else ""
        self._rules = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if self._prefix else "")

    def write(self, name: str, value: str, *, max_age_s: int) -> str:
        """Returns the `Set-Cookie` that has a browser keep `value` for so long."""
        if len(value) > VALUE_CHARS_MAX:
            raise ValueError(f"a cookie of {len(value)} characters is too long")
        ends = clock.seconds() + max_age_s
        signed = f"{_text(value.encode())}.{ends}.{self._sign(name, value, str(ends))}"
        return f"{self._prefix}{name}={signed}; Max-Age={max_age_s}{self._rules}"

    def read(self, request: AnyRequest, name: str) -> str | None:
        """Returns what `write` wrote, unless it is over, or none of ours."""
        for signed in _all(request.headers.get("cookie", ""), self._prefix + name):
            if (value := self._verified(name, signed)) is not None:
                return value
        return None

    def clear(self, name: str) -> str:
        """Returns the `Set-Cookie` that has a browser forget the cookie."""
        return f"{self._prefix}{name}=; Max-Age=0{self._rules}"

    def form_token(self, request: AnyRequest, purpose: str, subject: str = "") -> FormToken:
        """Returns the token of a form for `purpose`; `subject` is who is signed in."""
        nonce = self.read(request, FORM_COOKIE) or secrets.token_urlsafe(18)
        cookie = self.write(FORM_COOKIE, nonce, max_age_s=FORM_S)
        return FormToken(self._form(nonce, purpose, subject), cookie)

    def check_form(self, request: AnyRequest, given: str, purpose: str, subject: str = "") -> None:
        """Raises FormRefused unless `given` is the token of this browser's form."""
        origin = request.headers.get("origin", self._origin).lower()
        site = request.headers.get("sec-fetch-site", "same-origin")
        nonce = self.read(request, FORM_COOKIE) or ""
        wanted = self._form(nonce, purpose, subject).encode()
        same = hmac.compare_digest(given.encode(errors="replace"), wanted)
        if not (nonce and same) or origin != self._origin or site not in ("same-origin", "none"):
            raise FormRefused("this form is not valid any more: open the page again")

    def _form(self, nonce: str, purpose: str, subject: str) -> str:
        return self._sign("form token", nonce, purpose, subject)

    def _verified(self, name: str, signed: str) -> str | None:
        text, _, rest = signed.partition(".")
        ends, _, signature = rest.partition(".")
        try:
            value = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        right = self._sign(name, value, ends).encode()
        if not hmac.compare_digest(signature.encode(errors="replace"), right):
            return None
        return value if clock.seconds() < int(ends) else None

    def _sign(self, *parts: str) -> str:
        told = b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
        return _text(hmac.digest(self._key, told, hashlib.sha256))


def _all(header: str, name: str) -> Iterator[str]:
    for pair in header.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            yield value


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

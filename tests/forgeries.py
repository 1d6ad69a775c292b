"""Tokens that were never ours, by name: what attackers send to whoever checks signatures.

The forger knows the public keys, holds genuine tokens of their own, and is lent even JWT_SECRET and
the signing key where the question is whether the claims are looked at.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from mercato.kernel.identity import new_id
from mercato.platform.tokens import TOKEN_BYTES_MAX, Key, Tokens

Json = dict[str, Any]
HMACS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
HUGE = 5 * 1024 * 1024


def b64(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Forger:
    """Attacks the tokens of `tokens`, which are signed by `key` (and services' by `secret`)."""

    def __init__(self, tokens: Tokens, key: Key, secret: str) -> None:
        self.user_id = new_id()
        self.genuine = tokens.access(self.user_id, "admin", session=new_id())
        self.service = tokens.service("gateway")
        self.key, self.secret = key, secret
        self.own = ECKey.generate_key("P-256")
        self.header = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.id}
        now = int(time.time())
        self.claims: Json = {
            "iss": tokens.issuer, "aud": "mercato", "sub": self.user_id, "role": "admin",
            "client_id": "mercato", "iat": now, "exp": now + 600, "jti": new_id(),
        }  # fmt: skip

    def signed(self, header: Json, claims: Json, key: Any, algorithm: str = "ES256") -> str:
        return self._signed(json.dumps(self.header | header), json.dumps(claims), key, algorithm)

    def _signed(self, header: str, claims: str, key: Any, algorithm: str = "ES256") -> str:
        text = f"{b64(header)}.{b64(claims)}"
        signature = JWSRegistry.algorithms[algorithm].sign(text.encode(), key)
        return f"{text}.{b64(signature)}"

    def hmac(self, header: Json, secret: bytes, algorithm: str = "HS256") -> str:
        whole: Json = self.header | header
        head = {name: value for name, value in whole.items() if value is not None}
        text = f"{b64(json.dumps(head))}.{b64(json.dumps(self.claims))}"
        signature = hmac.digest(secret, text.encode(), HMACS[algorithm])
        return f"{text}.{b64(signature)}"

    def all(self) -> dict[str, str]:
        kinds = (self._unsigned(), self._swapped(), self._pointing(), self._stolen_form())
        found: dict[str, str] = {}
        for name, token in (*(each for kind in kinds for each in kind), *self._lying()):
            assert name not in found, name
            found[name] = token
        return found

    def check(self) -> str:
        """Returns a token that is good: what the forger writes is right but for the forgery."""
        return self.signed({}, self.claims, self.key.jwk, self.key.algorithm)

    def _unsigned(self) -> Iterator[tuple[str, str]]:
        signature = self.genuine.rpartition(".")[2]
        for name in ("none", "None", "NONE", "nOnE", ""):
            head = b64(json.dumps(self.header | {"alg": name}))
            text = f"{head}.{b64(json.dumps(self.claims))}"
            yield f"alg {name!r} without a signature", f"{text}."
            yield f"alg {name!r} with some signature", f"{text}.{signature}"
        head = b64(json.dumps({"typ": "at+jwt"}))
        yield "no alg", f"{head}.{b64(json.dumps(self.claims))}.{signature}"
        yield "a signature of zeros", f"{self.genuine.rpartition('.')[0]}.{b64(bytes(64))}"
        yield "a signature of nothing", f"{self.genuine.rpartition('.')[0]}."
        yield "no signature at all", self.genuine.rpartition(".")[0]

    def _swapped(self) -> Iterator[tuple[str, str]]:
        public = self.key.jwk.as_dict(private=False)
        secrets = {
            "PEM": self.key.jwk.as_pem(private=False),
            "DER": self.key.jwk.as_der(private=False),
            "JWK": json.dumps(public).encode(),
            "x": str(public["x"]).encode(),
            "empty secret": b"",
            "kid": self.key.id.encode(),
        }
        for name, secret in secrets.items():
            for algorithm in HMACS:
                token = self.hmac({"alg": algorithm}, secret, algorithm)
                yield f"{algorithm} by the public {name}", token
        kids: tuple[str | None, ...] = (self.key.id, None)
        for kid in kids:
            token = self.hmac({"alg": "HS256", "kid": kid}, self.secret.encode())
            yield f"a user's token by JWT_SECRET, kid {kid}", token
        yield "the right alg's name, signed by HMAC", self.hmac({}, self.secret.encode())
        for algorithm in ("RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "Ed448", "es256"):
            yield f"alg {algorithm}", self.signed({"alg": algorithm}, self.claims, self.own)

    def _pointing(self) -> Iterator[tuple[str, str]]:
        yield "a key of one's own under the right kid", self.signed({}, self.claims, self.own)
        kids = ("", "another", "../../../../dev/null", "/dev/null", "' OR 1=1 --", "x" * 2000)
        for kid in (*kids, None, 7, [self.key.id], {"kid": self.key.id}, True):
            token = self.signed({"kid": kid}, self.claims, self.own)
            yield f"kid {str(kid)[:30]!r} {type(kid).__name__}", token
        yield "an empty file as key", self.hmac({"alg": "HS256", "kid": "/dev/null"}, b"")
        own = self.own.as_dict(private=False)
        pointers: Json = {
            "jwk": own, "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/c",
            "x5c": ["MIIB"], "x5t": "abc", "crit": ["exp"], "b64": False, "zip": "DEF",
            "cty": "JWT", "epk": own, "unheard-of": 1,
        }  # fmt: skip
        for name, value in pointers.items():
            yield f"{name} in the header", self.signed({name: value}, self.claims, self.own)
            signed = self.signed({name: value}, self.claims, self.key.jwk, self.key.algorithm)
            yield f"{name} in a header that is signed", signed

    def _stolen_form(self) -> Iterator[tuple[str, str]]:
        head, body, signature = self.genuine.split(".")
        other = b64(json.dumps(self.claims | {"sub": new_id()}))
        yield "another body under a good signature", f"{head}.{other}.{signature}"
        yield "a cut signature", f"{head}.{body}.{signature[:-4]}"
        yield "a longer signature", f"{head}.{body}.{signature}AAAA"
        yield "padding", f"{head}.{body}.{signature}=="
        yield "a space inside", f"{head}.{body[:9]} {body[9:]}.{signature}"
        yield "a percent sign", f"{head}.{body}%2E.{signature}"
        yield "four parts", f"{head}.{body}.{signature}.{signature}"
        yield "five parts, as an encrypted one", f"{head}.{body}.{signature}.{body}.{signature}"
        yield "dots", ".."
        yield "a word", "token"
        yield "the user's id", self.user_id
        yield "a refresh token", "mrt_" + b64(hashlib.sha512(b"refresh").digest())
        yield "nested brackets", f"{b64('[' * 1500)}.{b64('[' * 1000)}.{signature}"
        yield "a list as header", f"{b64('[]')}.{body}.{signature}"
        yield "no JSON", f"{b64('alg: none')}.{body}.{signature}"
        yield "no UTF-8", f"{b64(bytes([255, 254]))}.{body}.{signature}"
        yield "longer than any of ours", self.genuine + "A" * TOKEN_BYTES_MAX
        twice = '{"alg":"none",' + json.dumps(self.header)[1:]
        yield "two algs", self._signed(twice, json.dumps(self.claims), self.own)

    def _lying(self) -> Iterator[tuple[str, str]]:
        """Signed by the right key, as if another use of it had made them."""

        def with_key(header: Json, claims: Json) -> str:
            return self.signed(header, claims, self.key.jwk, self.key.algorithm)

        for typ in ("JWT", "rt+jwt", "svc+jwt", "id+jwt", "AT+JWT ", "", None, ["at+jwt"]):
            yield f"typ {typ!r}", with_key({"typ": typ}, self.claims)
        for name in self.claims:
            rest = {each: value for each, value in self.claims.items() if each != name}
            yield f"no {name}", with_key({}, rest)
        now = int(time.time())
        lies: list[Json] = [
            {"exp": now - 1}, {"exp": now}, {"exp": "tomorrow"}, {"exp": now + 60.5}, {"exp": True},
            {"exp": None}, {"exp": [now + 60]}, {"exp": float("inf")}, {"iat": now + 3600},
            {"iat": "now"}, {"nbf": now + 3600}, {"nbf": "now"}, {"iss": "evil"}, {"iss": None},
            {"iss": [self.claims["iss"]]}, {"iss": "mercato"}, {"aud": "evil"}, {"aud": None},
            {"aud": ["mercato"]}, {"aud": "mercato/"}, {"sub": 7}, {"sub": None}, {"sub": ["a"]},
            {"role": "root"}, {"role": "service"}, {"role": ["admin"]}, {"role": "Admin"},
            {"client_id": "till"}, {"client_id": ""}, {"scope": "orders:read"}, {"scope": ["a"]},
            {"sid": 7}, {"sid": {}}, {"jti": 7}, {"role": "client"},
        ]  # fmt: skip
        for lie in lies:
            yield f"claims {lie!r:.60}", with_key({}, self.claims | lie)

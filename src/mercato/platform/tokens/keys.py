"""Signing keys on disk: JWK sets (RFC 7517), one with the private halves and one to publish.

`nbf` in a key says from when on it signs, `exp` until when it is known; both in seconds since 1970.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from mercato.kernel.clock import monotonic
from mercato.platform.settings import SettingsError

Algorithm = Literal["ES256", "Ed25519"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ES256", "Ed25519")
_KINDS: Final[Mapping[str, type[ECKey] | type[OKPKey]]] = {"ES256": ECKey, "Ed25519": OKPKey}
_CURVES: Final = {"ES256": "P-256", "Ed25519": "Ed25519"}
LOOK_S: Final = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Key:
    """One key for one algorithm; without `until` it is there to stay."""

    id: str
    algorithm: Algorithm
    jwk: ECKey | OKPKey = field(repr=False)
    signs_from: int
    until: int | None = None

    @classmethod
    def new(cls, algorithm: Algorithm, signs_from: int) -> "Key":
        es256 = algorithm == "ES256"
        jwk = ECKey.generate_key("P-256") if es256 else OKPKey.generate_key("Ed25519")
        return cls(jwk.thumbprint()[:16], algorithm, jwk, signs_from)

    def leaves(self, at: int) -> "Key":
        """Returns the key as one that is known until `at` at the latest."""
        return replace(self, until=at if self.until is None else min(at, self.until))

    def document(self, *, private: bool) -> dict[str, Any]:
        times: dict[str, Any] = {"nbf": self.signs_from}
        if self.until is not None:
            times["exp"] = self.until
        names = {"kid": self.id, "use": "sig", "alg": self.algorithm}
        return self.jwk.as_dict(private=private) | names | times


class KeyFile:
    """A JWK set that is read again when its file changes; a bad new one leaves the last one."""

    def __init__(self, path: Path) -> None:
        """Raises SettingsError when the file is none."""
        self.path = path
        self._look_at = 0.0
        try:
            self._version = _version(path)
            self._keys = read(path)
        except (OSError, ValueError) as failure:
            raise SettingsError(f"{path} is no set of keys: {failure}") from None

    def known(self) -> list[Key]:
        """Returns the keys that are known now."""
        if monotonic() >= self._look_at:
            self._look_again()
        now = time.time()
        return [key for key in self._keys if key.until is None or now < key.until]

    def find(self, key_id: str) -> Key | None:
        """Returns the key of this id; one that was not there a moment ago is looked for on disk."""
        for look in (False, True):
            if look and not self._look_again():
                return None
            for key in self.known():
                if key.id == key_id:
                    return key
        return None

    def published(self, public: "KeyFile") -> list[Key]:
        """Returns the keys that are known now here and in `public`; reads again if one is not."""
        for look in (False, True):
            if look and not self._look_again():
                break
            keys = self.known()
            found = [key for key in keys if public.find(key.id)]
            if len(found) == len(keys):
                break
        return found

    def _look_again(self) -> bool:
        """Reads the file if it has changed; says whether it has."""
        self._look_at = monotonic() + LOOK_S
        try:
            version = _version(self.path)
            if version == self._version:
                return False
            self._keys = read(self.path)
        except (OSError, ValueError) as failure:
            log.error("the keys on disk will not do", path=str(self.path), why=str(failure))
            return False
        self._version = version
        log.info("keys are read again", path=str(self.path), ids=[key.id for key in self._keys])
        return True


def signing(keys: Sequence[Key]) -> Key | None:
    """Returns the one of `keys` that signs now; None without any."""
    now = time.time()
    ripe = [key for key in keys if key.signs_from <= now] or keys
    # the last, of the same second
    return max(reversed(ripe), key=lambda key: key.signs_from, default=None)


def read(path: Path) -> list[Key]:
    """Returns the keys of a file, in its order; raises OSError, ValueError."""
    try:
        found = json.loads(path.read_bytes())["keys"]
        keys = [_key(each) for each in found]
    except (KeyError, TypeError, JoseError, RecursionError) as failure:
        raise ValueError(f"it is no JWK set ({type(failure).__name__})") from None
    if len({key.id for key in keys}) != len(keys):
        raise ValueError("two keys have the same kid")
    return keys


def write(path: Path, keys: Iterable[Key], *, private: bool) -> None:
    """Replaces the file as one; with private halves only its owner may read it."""
    content = json.dumps({"keys": [key.document(private=private) for key in keys]}, indent=2)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    mode = 0o600 if private else 0o644
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(content + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _key(document: Mapping[str, Any]) -> Key:
    algorithm, key_id = document["alg"], document["kid"]
    if algorithm not in ALGORITHMS or not isinstance(key_id, str) or not key_id:
        raise ValueError(f"a key needs a kid, and one of {', '.join(ALGORITHMS)} as its alg")
    jwk = _KINDS[algorithm].import_key(dict(document))
    if jwk.curve_name != _CURVES[algorithm]:
        raise ValueError(f"the key {key_id} is not on the curve of {algorithm}")
    until = document.get("exp")
    return Key(key_id, algorithm, jwk, int(document.get("nbf", 0)), until and int(until))


def _version(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_ino, about.st_size

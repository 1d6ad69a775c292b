"""Keys that follow one another: published first, then signing, then known until nobody needs them.

A new key signs only after DELAY_S, so that every process has read it before a token needs it; the
one before stays published until its last token has expired. Nobody is refused on the way.

A key that is not in the public file any more is disowned: it never signs again, nor comes back.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from mercato.platform.tokens.access import ACCESS_TTL_S
from mercato.platform.tokens.keys import Algorithm, Key, read, signing, write

DELAY_S: Final = 90
# What reads late or has another clock still knows the old key.
SPARE_S: Final = 60


class UnknownKey(ValueError):
    """There is no key of this id."""


def rotate(
    private: Path, public: Path, algorithm: Algorithm = "ES256", delay_s: int = DELAY_S
) -> Key:
    """Makes the key that will sign next, or at once where there was none; returns it.

    Raises OSError, and ValueError when a file is no set of keys.
    """
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(private):
        before = published(private, public)
        fresh = Key.new(algorithm, int(time.time()) + (delay_s if before else 0))
        _write(private, public, _succeeded(before, fresh))
    return fresh


def disown(private: Path, public: Path, key_id: str) -> Key | None:
    """Takes a key away for good; returns one made in its place if it signed or was to.

    Raises UnknownKey when no file has it, OSError, and ValueError when one is no set of keys.
    """
    with _alone(private):
        every = {key.id: key for key in (*known(public), *known(private))}
        if key_id not in every:
            raise UnknownKey(key_id)
        before = published(private, public)
        left = [key for key in before if key.id != key_id]
        signed = signing(before)
        fresh = None
        stays = any(key.until is None for key in left)  # else the last one would run out
        if not stays or signed is None or signed.id == key_id:
            fresh = Key.new(every[key_id].algorithm, int(time.time()))
            left = _succeeded(left, fresh)
        _write(private, public, left)
    return fresh


def published(private: Path, public: Path) -> list[Key]:
    """Returns the private keys that are not over, and that the public file has too."""
    ids = {key.id for key in known(public)}
    return [key for key in known(private) if key.id in ids]


def known(path: Path) -> list[Key]:
    """Returns the keys of a file that are not over; none without a file."""
    now = time.time()
    keys = read(path) if path.exists() else []
    return [key for key in keys if key.until is None or now < key.until]


def _succeeded(before: list[Key], fresh: Key) -> list[Key]:
    """Returns all keys, those of `before` as ones that sign until `fresh` does."""
    last_token_at = fresh.signs_from + ACCESS_TTL_S + SPARE_S
    leaving = (key.leaves(last_token_at) for key in before)
    from_at_most = (
        fresh.signs_from
    )  # what still waited would else sign after it, and while it leaves
    return [*(replace(key, signs_from=min(key.signs_from, from_at_most)) for key in leaving), fresh]


def _write(private: Path, public: Path, keys: list[Key]) -> None:
    write(public, keys, private=False)  # first: what signs is always known
    write(private, keys, private=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

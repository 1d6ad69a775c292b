"""Keys that follow one another: published first, then signing, then known until nobody needs them.

A new key signs only after DELAY_S, so that every process has read it before a token needs it; the
one before stays published until its last token has expired. Nobody is refused on the way.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mercato.platform.tokens.access import ACCESS_TTL_S
from mercato.platform.tokens.keys import Algorithm, Key, read, write

DELAY_S: Final = 90
# What reads late or has another clock still knows the old key.
SPARE_S: Final = 60


def rotate(
    private: Path, public: Path, algorithm: Algorithm = "ES256", delay_s: int = DELAY_S
) -> Key:
    """Makes the key that will sign next, or at once where there was none; returns it.

    Raises OSError, and ValueError when a file is no set of keys.
    """
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(private):
        now = int(time.time())
        before = known(private)
        fresh = Key.new(algorithm, now + delay_s if before else now)
        last_token_at = fresh.signs_from + ACCESS_TTL_S + SPARE_S
        keys = [*(key.leaves(last_token_at) for key in before), fresh]
        write(public, keys, private=False)  # first: what signs is always known
        write(private, keys, private=True)
    return fresh


def known(path: Path) -> list[Key]:
    """Returns the keys of a file that are not over; none without a file."""
    now = time.time()
    keys = read(path) if path.exists() else []
    return [key for key in keys if key.until is None or now < key.until]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

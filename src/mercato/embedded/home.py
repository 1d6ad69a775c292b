"""The folder that a platform lives in: made, and refused with its reason where it will not do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mercato.embedded.errors import PlatformError

REMEDY = "choose another place with --data-dir"


def prepare(data_dir: Path) -> None:
    """Makes the folder, for this user alone, and its logs; raises PlatformError.

    A folder that we make is hidden from git; one that was there is its owner's to arrange.
    """
    with usable(data_dir):
        with suppress(FileExistsError):
            data_dir.mkdir(mode=0o700, parents=True)
            (data_dir / ".gitignore").write_text("*\n")
        (data_dir / "logs").mkdir(exist_ok=True)


@contextmanager
def usable(data_dir: Path) -> Iterator[None]:
    """Turns what the file system refuses inside the block into a PlatformError."""
    try:
        yield
    except OSError as failure:
        path, reason = failure.filename or data_dir, failure.strerror or failure
        raise PlatformError(f"{data_dir} cannot be used: {path}: {reason}", REMEDY) from None


def nearest(data_dir: Path) -> Path:
    """Returns the folder itself, or what is there of the path to it."""
    path = data_dir.absolute()
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def obstacle(data_dir: Path) -> str:
    """Says what keeps this user from a platform there, empty if nothing does; changes nothing."""
    path = nearest(data_dir)
    for each in (path, data_dir / "logs"):
        if os.path.lexists(each) and not each.is_dir():
            return f"{each} is no folder"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"{path} cannot be written to"
    return ""

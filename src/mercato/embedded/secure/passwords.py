"""Generated passwords, one for each use, in a file that only this user may read."""

import secrets
from pathlib import Path
from typing import Final

import msgspec

from mercato.embedded.errors import PlatformError
from mercato.embedded.state import write_private

BYTES: Final = 32


class Passwords:
    """The passwords in `file`; one that is asked for and not there is made."""

    def __init__(self, file: Path) -> None:
        """Raises PlatformError when the file is not what it should be."""
        self._file = file
        try:
            self._known = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            self._known = {}
        except (OSError, msgspec.DecodeError) as failure:
            raise PlatformError(f"{file} cannot be read: {failure}", "bring it back") from None

    def of(self, use: str) -> str:
        """Returns the password for this use: 43 characters that need no quoting in a URL."""
        if use not in self._known:
            self._known[use] = secrets.token_urlsafe(BYTES)
            write_private(self._file, msgspec.json.format(msgspec.json.encode(self._known)))
        return self._known[use]

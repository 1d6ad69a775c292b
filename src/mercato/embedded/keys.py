"""The keys that an embedded platform signs its users' tokens with, made at its first start."""

from pathlib import Path

from mercato.embedded.errors import PlatformError
from mercato.platform.tokens import published, rotate


def files(data_dir: Path) -> tuple[Path, Path]:
    """Returns where the private keys are, and the public ones."""
    folder = data_dir.absolute() / "keys"
    return folder / "private.json", folder / "public.json"


def insist(data_dir: Path) -> tuple[Path, Path]:
    """Returns the files, with a key in them; raises PlatformError when they will not do."""
    private, public = files(data_dir)
    try:
        if not published(private, public):
            rotate(private, public)
    except (OSError, ValueError) as failure:
        raise PlatformError(
            f"the keys in {private.parent} will not do: {failure}",
            "delete the folder: everybody signs in again then",
        ) from None
    return private, public

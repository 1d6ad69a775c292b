"""Runs the commands, and reads what a backup's folder and a database hold."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
from bson.codec_options import CodecOptions

from mercato import backup
from mercato.platform.mongo import Store
from mercato.platform.settings import whole_environment

Documents = dict[str, list[dict[str, Any]]]


async def mercato(*words: str | Path, ulimit: str = "ulimit -c 0") -> tuple[int, str, str]:
    """Runs a command beside the test's own traffic: its exit code, answer and errors."""
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", f'{ulimit}; exec "$@"', "sh", sys.executable, "-P", "-m", "mercato",
        *map(str, words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=whole_environment(),
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, out.decode(), err.decode()


def contents(folder: Path) -> Documents:
    manifest = backup.read(folder)
    backup.check(folder, manifest, backup.silent)
    paths = {name: manifest.path(folder, name) for name in manifest.collections}
    options: CodecOptions[Any] = CodecOptions(tz_aware=True)
    return {name: bson.decode_all(path.read_bytes(), options) for name, path in paths.items()}


async def documents(store: Store) -> Documents:
    names = await store.database.list_collection_names()
    return {name: await store[name].find().sort("_id", 1).to_list() for name in names}


def names_in(folder: Path) -> Iterator[str]:
    yield from (each.name for each in folder.iterdir())

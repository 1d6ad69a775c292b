"""`mercato backup`: the whole database at one moment, as a folder, while the platform runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import Progress, TextColumn

from mercato import backup as backups
from mercato.backup import Manifest, Tell
from mercato.cli.offline import patient, resting, rests
from mercato.cli.shop import found
from mercato.cli.terminal import DataDir, Json, console, errors, say_json
from mercato.embedded import state
from mercato.embedded.errors import NotRunning
from mercato.embedded.settings import Given
from mercato.embedded.size import CLUSTER, SINGLE
from mercato.kernel.clock import rfc3339
from mercato.platform.settings import StoreSettings, load


def backup(
    folder: Annotated[Path, Parameter(help="A new folder; one that is there is refused.")],
    /,
    *,
    compress: Annotated[bool, Parameter(name="--gzip", help="Compress the files.")] = False,
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Write the whole database, as it is at one moment, into a new folder."""
    began = time.monotonic()
    with progress("read", shown=not json) as tell:
        manifest = asyncio.run(_backup(data_dir, folder, compress, tell))
    if json:
        say_json({"folder": str(folder), "manifest": manifest})
        return
    documents, size = totals(manifest)
    console.print(
        f"{documents} documents of {len(manifest.collections)} collections, "
        f"{size / 1e6:.1f} MB, as they were at {rfc3339(manifest.taken_at)}, "
        f"are in {folder} ({time.monotonic() - began:.1f} s)",
        markup=False,
    )


async def _backup(data_dir: Path, folder: Path, compress: bool, tell: Tell) -> Manifest:
    async with _stores(data_dir) as s, patient(s, "backup") as store:
        return await backups.take(store, folder, compressed=compress, tell=tell)


@asynccontextmanager
async def _stores(data_dir: Path) -> AsyncIterator[StoreSettings]:
    """The stores of the platform that runs here, that the environment names, or that rests here."""
    known = state.read(data_dir)
    if known is not None and known.alive:
        yield found(StoreSettings, data_dir)
        return
    if not load(Given).mongo_uri and not rests(data_dir, SINGLE, CLUSTER):
        raise NotRunning(f"there is no Mercato in {data_dir}", "name its folder with --data-dir")
    async with resting(data_dir) as s:
        yield s


@contextmanager
def progress(verb: str, *, shown: bool) -> Iterator[Tell]:
    """Shows how many documents of which collection are done, on a terminal."""
    column = TextColumn("{task.description} {task.fields[name]}: {task.completed} documents")
    hidden = not (shown and errors.is_terminal)
    with Progress(column, console=errors, transient=True, disable=hidden) as bar:
        task = bar.add_task(verb, total=None, name="...")

        def tell(name: str, documents: int) -> None:
            if documents % 100 == 0 or documents < 100:
                bar.update(task, completed=documents, name=name)

        yield tell


def totals(manifest: Manifest) -> tuple[int, int]:
    """How many documents a backup has, and their bytes."""
    contents = manifest.collections.values()
    return sum(each.documents for each in contents), sum(each.bytes for each in contents)

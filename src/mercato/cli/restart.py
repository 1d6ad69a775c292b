"""`mercato restart`: new processes for the services, one copy after the other."""

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mercato.cli.terminal import DataDir, Json, console, say_json
from mercato.embedded import rolling, state
from mercato.embedded.rolling import Restarted
from mercato.embedded.size import kind_of


def restart(
    *parts: Annotated[str, Parameter(help="order, order-2, mongo-1; every service if none.")],
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Restart services one copy after the other; in a cluster nobody notices."""
    names = rolling.chosen(state.running(data_dir), parts)
    done = asyncio.run(_restart(data_dir, names, json))
    if json:
        say_json(done)


async def _restart(data_dir: Path, names: list[str], quiet: bool) -> list[Restarted]:
    done: list[Restarted] = []
    for name in names:
        if done and kind_of(done[-1].name) == kind_of(name):
            await asyncio.sleep(rolling.SETTLE_S)
        one = await rolling.restart(data_dir, name)
        done.append(one)
        if not quiet:
            console.print(f"{name} ended in {one.exit_s:.1f} s, ready in {one.ready_s:.1f} s")
    return done

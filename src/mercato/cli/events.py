"""`mercato events`: what no service could understand, to be read and to be told once more."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from mercato.cli.shop import CALLER, found
from mercato.cli.stores import database, stream
from mercato.cli.terminal import DataDir, Json, Limit, console, one_line, say_json
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.state import DEFAULT_DATA_DIR
from mercato.platform.bus import Bus, Letter
from mercato.platform.dead_letters import DeadLetter, DeadLetters
from mercato.platform.settings import StoreSettings

SHORT: Final = 12  # digits of an id that are shown, and are enough to name it


class Replay(msgspec.Struct):
    """What became of one letter: the stream has it, or nobody knows."""

    id: str
    subject: str
    published: bool


def dead(
    *,
    limit: Limit = 20,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """List the events that no service could understand, the newest first."""
    letters = asyncio.run(_dead(found(StoreSettings, data_dir), limit))
    if json:
        shown = ("id", "consumer", "subject", "reason", "times", "at", "text")
        say_json([{name: getattr(each, name) for name in shown} for each in letters])
        return
    for each in letters:
        came = "once" if each.times == 1 else f"{each.times} times, last"
        told = f"{each.subject} to {each.consumer}, {came} at {each.at:%Y-%m-%d %H:%M:%S} UTC"
        for line in (f"{each.id[:SHORT]} {told}", f"  {each.reason}", f"  {each.text}"):
            console.print(one_line(line), markup=False)
    if not letters:
        console.print("there are no dead letters")


def replay(
    *ids: Annotated[str, Parameter(help="Their ids, or how these begin.")],
    every: Annotated[bool, Parameter(name="--all", help="All that are dead now.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> int:
    """Tell dead letters once more, after what they died of has been mended."""
    if bool(ids) == every:
        raise UsageError("say which dead letters, or --all", "list them: mercato events dead")
    replays = asyncio.run(_replay(found(StoreSettings, data_dir), ids))
    if json:
        say_json(replays)
    else:
        for each in replays:
            became = "published again" if each.published else "not taken by the stream: still dead"
            console.print(one_line(f"{each.id[:SHORT]} {each.subject} {became}"), markup=False)
        if not replays:
            console.print("there are no dead letters")
    return 0 if all(each.published for each in replays) else 1


async def _dead(s: StoreSettings, count_max: int) -> list[DeadLetter]:
    async with database(s) as store:
        return await DeadLetters(store["dead_letters"], CALLER).newest(count_max)


async def _replay(s: StoreSettings, beginnings: Sequence[str]) -> list[Replay]:
    """Replays the letters that are meant, all of them without any; ends at one that fails."""
    replays: list[Replay] = []
    async with database(s) as store, stream(s) as bus:
        letters = DeadLetters(store["dead_letters"], CALLER)
        named = [await _named(letters, beginning) for beginning in beginnings]
        for name in dict.fromkeys(named) if named else await letters.ids():
            letter = await letters.get(name)
            if letter is None:
                continue  # somebody else replays too
            published = await _publish(bus, letter)
            replays.append(Replay(letter.id, letter.subject, published))
            if not published:
                break
            await letters.replayed(letter)
    return replays


async def _named(letters: DeadLetters, beginning: str) -> str:
    """Returns the one id that begins so."""
    names = await letters.ids(beginning.lower())
    if len(names) != 1:
        count = f"{len(names)} dead letters begin" if names else "no dead letter begins"
        raise PlatformError(f"{count} with {beginning}", "list them: mercato events dead")
    return names[0]


async def _publish(bus: Bus, letter: DeadLetter) -> bool:
    # The message id is this death's own: once more before the next death is the same message.
    # Other headers of NATS's were orders for the first time.
    headers = {name: v for name, v in letter.headers.items() if not name.startswith("nats-")}
    headers["Nats-Msg-Id"] = f"{letter.id}:{letter.times}"
    return all(await bus.publish([Letter(letter.subject, letter.payload, headers)]))

"""`mercato security`: failed logins, refused permissions, deeds of admins."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from mercato.cli.shop import Shop
from mercato.cli.terminal import DataDir, Json, Limit, console, one_line, say_json
from mercato.embedded.errors import UsageError
from mercato.embedded.state import DEFAULT_DATA_DIR
from mercato.kernel.clock import now, rfc3339
from mercato.pb.security_pb2 import ListEventsRequest, SecurityEvent
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform.rpc import validated
from mercato.user.model.trail import KINDS

PAGE: Final = 200
LOOK_S: Final = 2.0
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def events(
    *,
    kind: Annotated[str, Parameter(help="One kind only, such as login.failed.")] = "",
    user: Annotated[str, Parameter(help="About this user's account, by its id.")] = "",
    since: Annotated[str, Parameter(help="A time as RFC 3339 has it, or 30m, 2h, 7d.")] = "",
    limit: Limit = 50,
    follow: Annotated[bool, Parameter(help="Go on with those to come, until Ctrl-C.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """List security events, the newest first; with --follow, the newest last."""
    if kind and kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of event", f"there are {', '.join(KINDS)}")
    wanted = ListEventsRequest(kind=kind, user_id=user.lower(), since=_time(since), limit=PAGE)
    asyncio.run(_show(Shop.of(data_dir), validated(wanted), limit, follow=follow, as_json=json))


async def _show(
    shop: Shop, wanted: ListEventsRequest, limit: int, *, follow: bool, as_json: bool
) -> None:
    channels = shop.channels()
    async with channels.open(shop.user_service, "user") as channel:
        trail = SecurityServiceStub(channel)

        async def newest(count_max: int) -> AsyncIterator[SecurityEvent]:
            request, left = ListEventsRequest(), count_max
            request.CopyFrom(wanted)
            while left > 0:
                page = await channels.call(trail.ListEvents, request)
                for event in page.events[:left]:
                    yield event
                left -= len(page.events)
                request.cursor = page.next_cursor
                if not page.next_cursor:
                    return

        found = [event async for event in newest(limit)]
        if not follow:
            return _say(found, as_json=as_json)
        shown: set[str] = set()
        while True:
            for event in reversed([each for each in found if each.id not in shown]):
                _say_one(event, as_json=as_json)
            shown |= {event.id for event in found}
            await asyncio.sleep(LOOK_S)
            found = [event async for event in newest(PAGE)]


def _say(found: list[SecurityEvent], *, as_json: bool) -> None:
    if as_json:
        return say_json([_document(event) for event in found])
    for event in found:
        _say_one(event, as_json=False)
    if not found:
        console.print("there are no such events")


def _say_one(event: SecurityEvent, *, as_json: bool) -> None:
    if as_json:  # a line each, for programs that read as they come
        return console.print(msgspec.json.encode(_document(event)).decode(), markup=False)
    times = f" {event.count} times" if event.count > 1 else ""
    about = (("user", event.user_id), ("by", event.actor), ("from", event.address))
    told = "".join(f" {word} {value}" for word, value in about if value)
    detail = " ".join(f"{name}={value}" for name, value in sorted(event.detail.items()))
    at = event.at.replace("T", " ").partition(".")[0]
    console.print(one_line(f"{at} {event.kind}{times}{told} {detail}".rstrip(), 400), markup=False)


def _document(event: SecurityEvent) -> dict[str, object]:
    return {
        "id": event.id, "at": event.at, "kind": event.kind, "user_id": event.user_id,
        "actor": event.actor, "address": event.address, "count": event.count,
        "detail": dict(event.detail),
    }  # fmt: skip


def _time(text: str) -> str:
    """Returns the time that is meant; raises UsageError when none is."""
    if not text:
        return ""
    if span := _SPAN.fullmatch(text):
        return rfc3339(now() - timedelta(**{_UNITS[span[2]]: int(span[1])}))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", "such as 2h, or 2026-11-22T12:00Z") from None
    return rfc3339(at if at.tzinfo else at.replace(tzinfo=UTC))

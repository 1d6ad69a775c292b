"""`mercato mail`: mails that wait for a person, and the person's word."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from mercato.cli.shop import found
from mercato.cli.stores import database
from mercato.cli.terminal import DataDir, Json, Limit, console, one_line, say_json
from mercato.embedded.errors import PlatformError, UsageError
from mercato.embedded.state import DEFAULT_DATA_DIR
from mercato.mailer.model import State, Stuck
from mercato.mailer.repository import MongoMails
from mercato.platform.mongo import Store
from mercato.platform.settings import StoreSettings


def parked(
    *,
    limit: Limit = 20,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """List the mails that may have been sent, or that were refused for good."""
    stuck = asyncio.run(_stuck(found(StoreSettings, data_dir), limit))
    if json:
        say_json(stuck)
        return
    for each in stuck:
        about = f"to {each.to}, Message-ID <{each.message_id}>"
        tried = f"queued at {each.since:%Y-%m-%d %H:%M:%S} UTC, put off {each.attempts} times"
        for line in (f"{each.id} {each.state}", f"  {about}", f"  {tried}", f"  {each.reason}"):
            console.print(one_line(line, 600), markup=False)
    if not stuck:
        console.print("no mail waits for you")


def resolve(
    mail_id: Annotated[str, Parameter(help="Its id, as `mercato mail parked` shows it.")],
    /,
    *,
    sent: Annotated[bool, Parameter(help="A parked mail has arrived.")] = False,
    send_again: Annotated[bool, Parameter(help="It has not; send it now.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Say what became of a mail, or have it sent again."""
    if sent == send_again:
        raise UsageError("say what became of it: --sent or --send-again")
    asyncio.run(_resolve(found(StoreSettings, data_dir), mail_id, sent))
    if json:
        say_json({"id": mail_id, "state": State.SENT if sent else State.NEW})
    else:
        became = "counts as sent" if sent else "goes out again"
        console.print(f"{mail_id} {became}", markup=False)


async def _stuck(s: StoreSettings, count_max: int) -> list[Stuck]:
    async with database(s) as store:
        return await _mails(store).stuck(count_max)


async def _resolve(s: StoreSettings, mail_id: str, sent: bool) -> None:
    states = (State.PARKED,) if sent else (State.PARKED, State.FAILED)
    async with database(s) as store:
        mails = _mails(store)
        mail = await mails.take(mail_id, states)
        if mail is None:
            none = f"there is no mail {mail_id} that is {' or '.join(states)}"
            raise PlatformError(none, "list those that wait: mercato mail parked")
        if sent:
            await mails.sent(mail)
        elif not await mails.not_sent(mail):
            raise PlatformError(f"somebody else has settled {mail_id} at this moment")


def _mails(store: Store) -> MongoMails:
    return MongoMails(store, domain="")  # which only names new mails; none is added here

"""G10: no mail is sent twice and none is lost, whoever dies between the mailer and its server."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo.asynchronous.collection import AsyncCollection

from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.mailer.model import message_id
from mercato.pb import mailer_pb2
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.platform.mongo import Store
from mercato.platform.rpc import Channels
from mercato.platform.rpc.refusals import Refused
from mercato.platform.tasks import end
from mercato.platform.tokens import Tokens
from tests.mailer.sink import CUT, LOOPBACK, Sink, mailbox_api
from tests.proof.figures import Figures, sized

STAGES = ("EHLO", "MAIL", "RCPT", "DATA", "BEFORE", "AFTER")
CUT_PART = 0.03  # of all answers, at each stage
CONNECTIONS = 4  # the mailer's, by default: so many mails can be at their dot when it is killed
BURST = 40
LIFE_S_MAX = 1.0
EMPTIED_S_MAX = 60.0
SEED = 10
pytestmark = pytest.mark.timeout(600)


class HostileSink(Sink):
    """Cuts the connection at every stage now and then, as long as it is hostile."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.hostile = True
        self.cuts = dict.fromkeys(STAGES, 0)
        self._dice = dice

    def fault(self, stage: str) -> str:
        if not self.hostile or self._dice.random() >= CUT_PART:
            return ""
        self.cuts[stage] += 1
        return CUT


@dataclass
class Post:
    """The mailer under fire: what it was given, and which of its mails were seen parked."""

    platform: Platform
    sink: HostileSink
    mails: AsyncCollection[dict[str, Any]]
    given: list[str] = field(default_factory=list)
    parked: set[str] = field(default_factory=set)
    kills: int = 0

    async def give(self, count: int) -> None:
        """Hands over `count` mails as an outbox does: again until there is an answer."""
        tokens = Tokens(self.platform.environment["JWT_SECRET"])
        batch = [_mail(f"{new_id()}:welcome") for _ in range(count)]
        channels = Channels(tokens, "order")
        async with channels.open(self.platform.environment["MAILER_SERVICE"]) as channel:
            stub = MailerServiceStub(channel)
            while True:
                try:
                    await channels.call(stub.QueueMails, mailer_pb2.QueueMailsRequest(mails=batch))
                except Refused:
                    await asyncio.sleep(0.05)
                else:
                    self.given += [mail.id for mail in batch]
                    return

    async def kill(self) -> None:
        self.platform.kill("mailer")
        self.kills += 1
        while self.platform.parts()["mailer"].phase != "restarting":  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await self.platform.start("mailer")

    async def watch(self) -> None:
        """Notes every mail that is parked; each stays so for two seconds at least."""
        while True:
            found = self.mails.find({"state": "PARKED"}, {"_id": 1})
            self.parked |= {mail["_id"] async for mail in found}
            await asyncio.sleep(0.1)

    async def emptied(self, *states: str) -> None:
        while await self.mails.count_documents({"state": {"$in": states}}):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _mail(mail_id: str) -> mailer_pb2.Mail:
    return mailer_pb2.Mail(
        id=mail_id, to_email="ada@shop.example", template="welcome", username="ada"
    )


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    sink = HostileSink(random.Random(SEED))
    await sink.start()
    async with mailbox_api(sink) as url:
        given = Given(smtp_host=LOOPBACK, smtp_port=str(sink.port), mailbox_api=url)
        async with (
            Platform.open(tmp_path / "post", services=("mailer",), given=given) as platform,
            Store.open(platform.environment["MONGO_URI"], "ecommerce") as store,
        ):
            yield Post(platform, sink, store["mails"])
    await sink.stop()


async def test_a_thousand_mails_arrive_once_each(post: Post, figures: Figures) -> None:
    wanted, dice = sized(1_000, least=2 * BURST), random.Random(SEED)
    watching = asyncio.get_running_loop().create_task(post.watch())
    while len(post.given) < wanted:
        await post.give(BURST)
        await asyncio.sleep(dice.uniform(0.0, LIFE_S_MAX))
        await post.kill()
    post.sink.hostile, quiet = False, time.monotonic()
    await post.emptied("DOT", "PARKED")
    emptied_s = time.monotonic() - quiet
    await post.emptied("NEW", "DOT", "PARKED")
    all_sent_s = time.monotonic() - quiet
    await asyncio.sleep(3)  # a mail that comes twice may come late
    await end([watching])

    arrived = post.sink.ids
    expected = {message_id(mail_id, "mercato.example") for mail_id in post.given}
    after_dot = post.sink.cuts["BEFORE"] + post.sink.cuts["AFTER"]
    figures.tell(
        "G10", mails=len(post.given), kills_of_mailer=post.kills,
        cuts=sum(post.sink.cuts.values()), cuts_after_the_dot=after_dot,
        duplicates=len(arrived) - len(set(arrived)), lost=len(expected - set(arrived)),
        parked=len(post.parked), parked_emptied_s=emptied_s, all_sent_s=all_sent_s,
    )  # fmt: skip
    assert min(post.sink.cuts.values()) > 0 or wanted < 500, "a stage was never cut"
    assert len(arrived) == len(set(arrived)), "a mail came twice"
    assert set(arrived) == expected, "a mail is lost"
    assert len(post.parked) <= CONNECTIONS * post.kills + after_dot
    assert emptied_s <= EMPTIED_S_MAX

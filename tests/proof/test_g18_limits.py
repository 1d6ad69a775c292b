"""G18: the limit is exact, also while replies of Redis get lost, and holds without it."""

import asyncio
import random
import time
from dataclasses import dataclass

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.platform.limits import Bucket, Quota
from mercato.platform.limits.shared import Limiter
from mercato.storm.proxy import Proxy
from tests.proof.figures import Figures

QUOTA = Quota(10, 1, 20)
AT_ONCE = 1_000
SECONDS = 10.0
LOST = 0.05
ADMITTED_MIN, ADMITTED_MAX = 115, 120
PAUSE_S = 0.05
SEED = 18


class Leaky(Proxy):
    """Swallows LOST of all replies, each with its connection: what was asked has been done."""

    dice = random.Random(SEED)

    def drops(self, data: bytes) -> bool:
        if self.dice.random() >= LOST:
            return False
        self.replies_dropped += 1
        return True


@dataclass
class Crowd:
    """Askers of one bucket, each again and again."""

    asked: int = 0
    admitted: int = 0
    slowest_s: float = 0.0

    async def ask(self, limiter: Limiter, bucket: Bucket, until: float) -> None:
        while (began := time.monotonic()) < until:
            (verdict,) = await limiter.spend([bucket])
            answered = time.monotonic()
            self.asked += 1
            self.admitted += verdict.admitted and answered < until  # later is another second's
            self.slowest_s = max(self.slowest_s, answered - began)
            await asyncio.sleep(PAUSE_S)


async def test_a_thousand_at_once_get_what_the_limit_gives(
    servers: Platform, figures: Figures
) -> None:
    proxy = Leaky("redis", int(servers.environment["REDIS_ADDR"].rpartition(":")[2]))
    await proxy.open()
    crowd, bucket = Crowd(), Bucket(f"proof:{new_id()}", QUOTA)
    try:
        async with Limiter.open(f"127.0.0.1:{proxy.port}") as limiter:
            until = time.monotonic() + SECONDS
            await asyncio.gather(*(crowd.ask(limiter, bucket, until) for _ in range(AT_ONCE)))
    finally:
        proxy.close()
    figures.tell(
        "G18", asked=crowd.asked, admitted=crowd.admitted,
        replies_lost=proxy.replies_dropped, slowest_ms=1000 * crowd.slowest_s,
    )  # fmt: skip
    assert proxy.replies_dropped > 10
    assert ADMITTED_MIN <= crowd.admitted <= ADMITTED_MAX


async def test_without_redis_a_process_lets_through_no_more(figures: Figures) -> None:
    crowd, bucket = Crowd(), Bucket(f"proof:{new_id()}", QUOTA)
    async with Limiter.open("127.0.0.1:1") as limiter:
        until = time.monotonic() + SECONDS
        await asyncio.gather(*(crowd.ask(limiter, bucket, until) for _ in range(AT_ONCE)))
    figures.tell("G18", admitted_without_redis=crowd.admitted)
    assert ADMITTED_MIN <= crowd.admitted <= ADMITTED_MAX

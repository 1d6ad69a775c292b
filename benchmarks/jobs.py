"""What a client process is asked to do, what it answers, and the requests of each kind."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from benchmarks.figures import Choice
from mercato.embedded.ports import LOOPBACK

HOT_SET: Final = 100
CATEGORIES: Final = 200
LIST_SIZE: Final = 20
SERIES: Final = 20  # so many products share a word that no other has

# Requests that give no trouble are answered so.
FINE: Final = (200, 201)


class Stage(msgspec.Struct, frozen=True):
    """What requests are made of, in a file that the client processes read once."""

    products: list[str]
    customers: list[str] = []  # tokens
    orders: list[tuple[str, int]] = []  # ids, and whose they are among the customers
    regulars: dict[str, str] = {}  # tokens, by the number of orders that they have placed
    logins: list[tuple[str, str]] = []
    series: int = 0  # how many words there are to look for


class Job(msgspec.Struct, frozen=True):
    """One load; with a `rate` (a second) it is an open loop, without it a closed one."""

    kind: str
    port: int
    stage: str
    connections: int
    seconds: float
    rate: float = 0.0
    choice: str = "uniform"
    regular: str = ""
    seed: int = 0
    authority: str = ""  # the file of who is to be trusted; empty: it is HTTP


class Outcome(msgspec.Struct):
    """`counts` is a Histogram's; `trouble` counts answers that were no success, by status.

    `elapsed_s` is from the first request to the last answer.
    """

    counts: dict[int, int] = {}
    elapsed_s: float = 0.0
    trouble: dict[str, int] = {}
    example: str = ""


Requests = Callable[[], bytes]


def series(n: int) -> str:
    """Returns the n-th word that products share."""
    return f"series{n:06}"


@lru_cache(maxsize=1)
def staged(path: str) -> Stage:
    return msgspec.json.decode(Path(path).read_bytes(), type=Stage)


def requests(job: Job) -> Requests:
    """Returns what makes the job's next request."""
    stage, random = staged(job.stage), Random(job.seed)  # noqa: S311
    return {
        "product": _product, "list": _list, "search": _search, "order": _order, "reserved": _order,
        "order_read": _order_read, "order_list": _order_list, "login": _login, "mixed": _mixed,
        "empty": _empty,
    }[job.kind](job, stage, random)  # fmt: skip


def _product(job: Job, stage: Stage, random: Random) -> Requests:
    hot = stage.products[:HOT_SET] if job.choice == "hot" else stage.products
    pages = [_get(f"/api/inventory/{product_id}") for product_id in hot]
    choose = Choice("uniform" if job.choice == "hot" else job.choice, len(pages), random)
    return lambda: pages[choose()]


def _list(job: Job, stage: Stage, random: Random) -> Requests:
    pages = [_get(f"/api/inventory?category=c{n}&limit={LIST_SIZE}") for n in range(CATEGORIES)]
    return lambda: random.choice(pages)


def _search(job: Job, stage: Stage, random: Random) -> Requests:
    return lambda: _get(f"/api/inventory?q={series(random.randrange(stage.series))}")


def _order(job: Job, stage: Stage, random: Random) -> Requests:
    choose = Choice(job.choice, len(stage.products), random)
    more = "Prefer: wait=10\r\n" if job.kind == "reserved" else ""

    def make() -> bytes:
        body = b'{"items":[{"product_id":"%s","quantity":1}]}' % stage.products[choose()].encode()
        return _post("/api/orders", body, random.choice(stage.customers), more)

    return make


def _order_read(job: Job, stage: Stage, random: Random) -> Requests:
    reads = [_get(f"/api/orders/{id_}", stage.customers[n]) for id_, n in stage.orders]
    return lambda: random.choice(reads)


def _order_list(job: Job, stage: Stage, random: Random) -> Requests:
    tokens = [stage.regulars[job.regular]] if job.regular else stage.customers
    pages = [_get(f"/api/orders?limit={LIST_SIZE}", token) for token in tokens]
    return lambda: random.choice(pages)


def _login(job: Job, stage: Stage, random: Random) -> Requests:
    bodies = [{"email": email, "password": password} for email, password in stage.logins]
    logins = [_post("/api/users/authenticate", json.dumps(body).encode()) for body in bodies]
    return lambda: random.choice(logins)


def _mixed(job: Job, stage: Stage, random: Random) -> Requests:
    """Half products by Zipf, a quarter lists, 15 % order reads, 10 % orders."""
    made = [
        _product(msgspec.structs.replace(job, choice="zipf"), stage, random),
        _list(job, stage, random), _order_read(job, stage, random),
        _order(msgspec.structs.replace(job, kind="order"), stage, random),
    ]  # fmt: skip
    return lambda: random.choices(made, (50, 25, 15, 10))[0]()


def _empty(job: Job, stage: Stage, random: Random) -> Requests:
    page = _get("/")
    return lambda: page


def _get(path: str, token: str = "") -> bytes:
    return _head("GET", path, token).encode() + b"\r\n"


def _post(path: str, body: bytes, token: str = "", more: str = "") -> bytes:
    head = f"{_head('POST', path, token)}{more}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _head(method: str, path: str, token: str) -> str:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{bearer}"

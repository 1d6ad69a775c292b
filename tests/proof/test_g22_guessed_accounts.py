"""G22: neither an answer nor the time that it takes tells who has an account."""

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.user.passwords import Passwords
from tests.proof.figures import Crowd, Figures, sized
from tests.story.shop import Shop

MEDIAN_MS_MAX = 2.0
MEDIAN_PART_MAX = 0.05  # of the time that a hash takes
AUC_MAX = 0.55  # of a classifier that knows nothing but the time
ACCOUNTS = 20
SEED = 22
Times = Mapping[str, Sequence[float]]
Ask = Callable[[], Awaitable[httpx2.Response]]
pytestmark = pytest.mark.timeout(3600)


async def measured(classes: Mapping[str, Ask], rounds: int) -> tuple[Times, list[tuple[Any, ...]]]:
    """Asks each class once a round, in an order of chance; returns seconds and distinct answers."""
    dice, order = Random(SEED), list(classes)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    answers: set[tuple[Any, ...]] = set()
    for _ in range(rounds):
        dice.shuffle(order)
        for name in order:
            began = time.perf_counter()
            answer = await classes[name]()
            seconds[name].append(time.perf_counter() - began)
            told = {k: v for k, v in answer.json().items() if k not in ("id", "request_id")}
            answers.add((answer.status_code, *sorted(map(str, told.items()))))
    return seconds, sorted(answers)


def auc(ones: Sequence[float], others: Sequence[float]) -> float:
    """Returns how often the better of "slower means known" and its opposite would be right."""
    ranked = sorted([(value, 1) for value in ones] + [(value, 0) for value in others])
    places: dict[float, list[int]] = {}
    for place, (value, _) in enumerate(ranked, 1):
        places.setdefault(value, []).append(place)
    ranks = sum(statistics.fmean(places[value]) for value in ones)
    area = (ranks - len(ones) * (len(ones) + 1) / 2) / (len(ones) * len(others))
    return max(area, 1 - area)


def compared(seconds: Times, pairs: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Returns the largest difference of two medians, in ms, and the largest AUC."""
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    apart = max(abs(medians[a] - medians[b]) for a, b in pairs)
    return apart, max(auc(seconds[a], seconds[b]) for a, b in pairs)


async def hash_ms() -> float:
    passwords, took = Passwords(), []
    for _ in range(20):
        began = time.perf_counter()
        await passwords.check("wrong", None)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def logins(shop: Shop, known: Sequence[str]) -> dict[str, Ask]:
    """Every kind of wrong login, each for accounts that there are and for none."""
    dice = Random(SEED)
    words = {"": "wrong password", " too long": "x" * 1000, " with NUL": "nul\0nul\0nul"}

    def ask(*, real: bool, password: str) -> Ask:
        async def login() -> httpx2.Response:
            email = dice.choice(known) if real else f"buyer-{new_id()}@example.com"
            body = {"email": email, "password": password}
            return await shop.http.post("/api/users/authenticate", json=body)

        return login

    return {
        f"{who}{kind}": ask(real=who == "known", password=password)
        for kind, password in words.items()
        for who in ("known", "unknown")
    }


async def test_a_login_tells_nobody_whether_there_is_an_account(
    shop: Shop, figures: Figures
) -> None:
    known = [(await shop.register()).email for _ in range(ACCOUNTS)]
    classes, crowd, rounds = logins(shop, known), Crowd(), sized(2_000, least=50)
    seconds, answers = await measured(classes, rounds)
    names = list(classes)
    pairs = [(names[i], names[i + 1]) for i in range(0, len(names), 2)] + list(pairwise(names))
    apart, area = compared(seconds, pairs)
    one_hash = await hash_ms()
    figures.tell(
        "G22", logins_a_class=rounds, classes=len(classes), different_answers=len(answers),
        login_medians_apart_ms=apart, hash_ms=one_hash, login_auc=area,
        free_cores=crowd.free_cores,
    )  # fmt: skip
    assert [status for status, *_ in answers] == [401]
    assert apart <= min(MEDIAN_MS_MAX, MEDIAN_PART_MAX * one_hash)
    assert area <= AUC_MAX


async def test_a_lost_password_is_asked_for_alike(shop: Shop, figures: Figures) -> None:
    known = [(await shop.register()).email for _ in range(ACCOUNTS)]
    dice = Random(SEED)

    def ask(email: Callable[[], str]) -> Ask:
        return lambda: shop.http.post("/api/users/password/forgot", json={"email": email()})

    classes = {
        "known": ask(lambda: dice.choice(known)),
        "unknown": ask(lambda: f"buyer{dice.randrange(ACCOUNTS)}@nowhere.example"),
    }
    seconds, answers = await measured(classes, sized(2_000, least=50))
    apart, area = compared(seconds, [("known", "unknown")])
    figures.tell("G22", forgot_medians_apart_ms=apart, forgot_auc=area)
    assert [status for status, *_ in answers] == [202]
    assert apart <= MEDIAN_MS_MAX
    assert area <= AUC_MAX


@pytest.fixture(scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A shop that keeps who has an account to itself, and bears few wrong logins."""
    home: Path = tmp_path_factory.mktemp("strict")
    rules = {"PRIVATE_REGISTRATION": "1", "RATE_LIMIT_ATTEMPTS": "3/600s"}
    async with (
        Platform.open(home, rewire=lambda _: rules) as platform,
        Shop.of(platform) as shop,
    ):
        yield shop


async def test_a_login_that_is_locked_is_locked_alike(strict: Shop, figures: Figures) -> None:
    known = [email for email in strict.platform.logins][1]
    unknown = f"buyer-{new_id()}@example.com"

    def ask(email: str) -> Ask:
        body = {"email": email, "password": "wrong password"}
        return lambda: strict.http.post("/api/users/authenticate", json=body)

    classes = {"known": ask(known), "unknown": ask(unknown)}
    await measured(classes, 4)
    seconds, answers = await measured(classes, sized(2_000, least=50))
    apart, area = compared(seconds, [("known", "unknown")])
    figures.tell("G22", locked_medians_apart_ms=apart, locked_auc=area)
    assert {status for status, *_ in answers} == {429}
    assert apart <= MEDIAN_MS_MAX
    assert area <= AUC_MAX


async def test_a_private_registration_is_answered_alike(strict: Shop, figures: Figures) -> None:
    password, dice = "a good long pass phrase", Random(SEED)

    def ask(email: Callable[[], str]) -> Ask:
        return lambda: register(email())

    async def register(email: str) -> httpx2.Response:
        body = {"email": email, "password": password}
        return await strict.http.post("/api/users/register", json=body)

    known = [f"first-{new_id()}@example.com" for _ in range(ACCOUNTS)]
    for each in known:
        assert (await register(each)).status_code == 201
    classes = {
        "known": ask(lambda: dice.choice(known)),
        "unknown": ask(lambda: f"new-{new_id()}@example.com"),
    }
    seconds, answers = await measured(classes, sized(200, least=20))
    apart, area = compared(seconds, [("known", "unknown")])
    figures.tell("G22", register_medians_apart_ms=apart, register_auc=area)
    assert len(answers) == 1
    assert apart <= MEDIAN_MS_MAX
    for each in known:  # the first mail is the welcome; of the others one a minute at most
        mails = [mail["Subject"] for mail in await strict.mails_to(each)]
        assert set(mails) <= {"Welcome to Mercato", "You have an account already"}

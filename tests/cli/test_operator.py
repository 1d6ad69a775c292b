"""What needs a person, from the outside: dead letters and mails of unknown fate."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from mercato.cli import stores
from mercato.cli.rest import Rest
from mercato.cli.terminal import one_line
from mercato.embedded.supervisor import Platform
from mercato.kernel.clock import now
from mercato.kernel.identity import new_id
from mercato.mailer.model import Mail, State, Written, message_id
from mercato.mailer.repository import MongoMails
from mercato.platform import mongo
from mercato.platform.bus import Delivery
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.mongo import Store
from tests.cli.test_shop import mercato
from tests.command import ended

DOMAIN = "mercato.example"


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Store]:
    async with Store.open(platform.environment["MONGO_URI"], "ecommerce") as store:
        yield store


@pytest.fixture
async def bus(platform: Platform) -> AsyncIterator[Client]:
    client = await nats.connect(platform.environment["NATS_URL"])
    yield client
    await client.close()


async def test_poison_is_listed_and_replayed_is_dead_again(
    platform: Platform, database: Store, bus: Client
) -> None:
    poison = f"poison {new_id()} \x1b[31m".encode()
    await bus.jetstream().publish("order.created", poison, headers={"Nats-Msg-Id": new_id()})

    async def died(times: int) -> bool:
        query = {"text": poison.decode(), "state": "dead", "times": times}
        return await database["dead_letters"].find_one(query) is not None

    await eventually(lambda: died(1))
    letter = next(each for each in dead_letters(platform) if each["text"] == poison.decode())
    assert (letter["consumer"], letter["subject"]) == ("inventory", "order.created")
    assert letter["reason"]
    shown = mercato(platform, "events", "dead", "--limit", "1000").stdout
    assert f"{letter['id'][:12]} order.created to inventory, once at " in shown
    assert "\x1b" not in shown

    replayed = mercato(platform, "events", "replay", letter["id"][:12])
    assert replayed.returncode == 0, replayed.stderr
    assert replayed.stdout == f"{letter['id'][:12]} order.created published again\n"
    await eventually(lambda: died(2))
    assert letter["id"] in [each["id"] for each in dead_letters(platform)]


async def test_a_good_letter_that_is_replayed_takes_its_stock_and_is_dead_no_more(
    platform: Platform, database: Store, bus: Client
) -> None:
    heard = await bus.subscribe("order.created")
    await bus.flush()
    product = a_product(platform, stock=10)
    told = {"order_id": new_id(), "items": [{"product_id": product, "quantity": 2}]}
    payload = json.dumps(told).encode()
    headers = {"ce-id": new_id(), "nats-msg-id": "old", "nats-expected-stream": "ANOTHER"}
    parked = Delivery("order.created", payload, headers, 5)
    letters = DeadLetters(database["dead_letters"], "inventory")
    await letters.keep(parked, "a fault of ours")
    (letter,) = await letters.newest(1)

    replayed = mercato(platform, "events", "replay", "--all", "--json")
    assert replayed.returncode == 0, replayed.stderr
    expected = {"id": letter.id, "subject": "order.created", "published": True}
    assert expected in json.loads(replayed.stdout)

    async def taken() -> bool:
        answer = Rest(platform.urls["gateway"]).call("GET", f"/api/inventory/{product}")
        return bool(answer.body["stock"] == 8)

    await eventually(taken)
    again = await heard.next_msg(timeout=5)
    while again.data != payload:
        again = await heard.next_msg(timeout=5)
    assert again.headers == {"ce-id": headers["ce-id"], "Nats-Msg-Id": f"{letter.id}:1"}
    kept = await database["dead_letters"].find_one({"_id": letter.id})
    assert kept is not None
    assert kept["state"] == "replayed"
    assert kept["replayed_at"] >= kept["at"]
    assert letter.id not in [each["id"] for each in dead_letters(platform)]
    refused = mercato(platform, "events", "replay", letter.id)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: no dead letter begins with ")


async def test_a_letter_that_dies_before_it_is_marked_stays_dead(database: Store) -> None:
    letters = DeadLetters(database["dead_letters"], "nobody")
    delivery = Delivery("order.created", new_id().encode(), {}, 1)
    await letters.keep(delivery, "first")
    (name,) = [each.id for each in await letters.newest(10) if each.payload == delivery.payload]
    letter = await letters.get(name)
    assert letter is not None
    await letters.keep(delivery, "second")
    assert not await letters.replayed(letter)
    again = await letters.get(name)
    assert again is not None
    assert (again.times, again.reason) == (2, "second")
    assert await letters.replayed(again)
    assert await letters.get(name) is None


@pytest.mark.parametrize("words", [(), ("3f2a9c41d0e7", "--all")])
def test_what_is_replayed_has_to_be_said(words: tuple[str, ...], platform: Platform) -> None:
    refused = mercato(platform, "events", "replay", *words)
    assert refused.returncode == 2
    assert "--all" in refused.stderr


async def test_a_parked_mail_that_a_person_has_found_was_sent(
    platform: Platform, database: Store
) -> None:
    mail = await stuck(database, State.PARKED)
    listed = json.loads(mercato(platform, "mail", "parked", "--json").stdout)
    (found,) = [each for each in listed if each["id"] == mail.id]
    assert (found["state"], found["to"]) == (State.PARKED, mail.to_email)
    assert (found["reason"], found["attempts"]) == ("its sender was lost", 1)
    assert f"<{mail.message_id}>" in mercato(platform, "mail", "parked").stdout

    resolved = mercato(platform, "mail", "resolve", mail.id, "--sent")
    assert resolved.returncode == 0, resolved.stderr
    assert resolved.stdout == f"{mail.id} counts as sent\n"
    document = await database["mails"].find_one({"_id": mail.id})
    assert document is not None
    assert document["state"] == State.SENT
    assert document["sent_at"] >= document["created_at"]
    assert not {"lease", "not_before", "reason"} & document.keys()
    again = mercato(platform, "mail", "resolve", mail.id, "--send-again")
    assert again.returncode == 1
    assert "that is PARKED or FAILED" in again.stderr
    assert arrived(platform, mail) == []


@pytest.mark.parametrize("state", [State.PARKED, State.FAILED])
async def test_a_stuck_mail_that_is_sent_again_arrives_once(
    state: State, platform: Platform, database: Store
) -> None:
    mail = await stuck(database, state)
    resolved = mercato(platform, "mail", "resolve", mail.id, "--send-again", "--json")
    assert json.loads(resolved.stdout) == {"id": mail.id, "state": "NEW"}

    async def is_sent() -> bool:
        return await database["mails"].find_one({"_id": mail.id, "state": State.SENT}) is not None

    await eventually(is_sent)
    await asyncio.sleep(1)
    assert arrived(platform, mail) == [mail.message_id]


async def test_a_mail_that_was_refused_cannot_have_arrived(
    platform: Platform, database: Store
) -> None:
    mail = await stuck(database, State.FAILED)
    refused = mercato(platform, "mail", "resolve", mail.id, "--sent")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: there is no mail {mail.id} that is PARKED\n")
    neither = mercato(platform, "mail", "resolve", mail.id)
    assert neither.returncode == 2
    assert "--send-again" in neither.stderr
    assert await database["mails"].find_one({"_id": mail.id, "state": State.FAILED})


async def test_a_verdict_of_the_mailbox_comes_too_late_after_a_persons(database: Store) -> None:
    mail = await stuck(database, State.PARKED)
    mails = MongoMails(database, DOMAIN)
    theirs = await mails.take(mail.id, (State.PARKED,))
    ours = await mails.take(mail.id, (State.PARKED,))
    assert theirs is not None
    assert ours is not None
    assert not await mails.not_sent(theirs)
    await mails.sent(ours)
    assert not await mails.not_sent(ours)


@pytest.mark.parametrize(
    ("words", "away", "said"),
    [
        ("events dead", {"MONGO_URI": "mongodb://127.0.0.1:9/"}, "error: the database fails"),
        ("events replay --all", {"NATS_URL": "nats://127.0.0.1:9"}, "error: the event stream"),
    ],
)
async def test_a_store_that_is_away_is_one_clear_line(
    words: str,
    away: dict[str, str],
    said: str,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mongo, "REACH_MS", 300)
    monkeypatch.setattr(stores, "REACH_S", 0.3)
    environment = {**platform.environment, **away}
    where = ("--data-dir", "/nonexistent")
    with ended():
        refused = mercato(None, *words.split(), *where, environment=environment)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(said)
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("words", ["restart", "logs"])
def test_a_part_that_there_is_not_is_wrong_use(words: str, platform: Platform) -> None:
    refused = mercato(platform, words, "order", "nosuch")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nosuch" in refused.stderr
    assert "inventory" in refused.stderr  # which there is


@pytest.mark.parametrize("words", ["events dead", "events replay", "mail parked", "mail resolve"])
def test_help_has_examples(words: str) -> None:
    shown = mercato(None, *words.split(), "--help")
    assert shown.returncode == 0
    assert f"  mercato {words}" in shown.stdout


def test_a_strangers_text_is_one_short_line() -> None:
    assert one_line("a\x1b[2J\nb\x9bc", 20) == "a\ufffd[2J\ufffdb\ufffdc"
    assert one_line("x" * 21, 20) == "x" * 19 + "…"


def dead_letters(platform: Platform) -> list[dict[str, Any]]:
    listed = mercato(platform, "events", "dead", "--limit", "1000", "--json")
    assert listed.returncode == 0, listed.stderr
    letters: list[dict[str, Any]] = json.loads(listed.stdout)
    return letters


def a_product(platform: Platform, stock: int) -> str:
    email, password = next(iter(platform.logins.items()))
    shop = Rest(platform.urls["gateway"])
    login = {"email": email, "password": password}
    keeper = shop.signed_in(shop.call("POST", "/api/users/authenticate", login).body["token"])
    body = {"name": f"Thing {new_id()}", "price": "9.99", "stock": stock}
    return str(keeper.call("POST", "/api/inventory", body).body["id"])


async def stuck(database: Store, state: State) -> Mail:
    """A mail in `state`, as the queue leaves it; the mailbox is not asked for it for an hour."""
    name, later = f"{new_id()}:given", now() + timedelta(hours=1)
    mail = Mail(
        id=name, to_email=f"{new_id()}@example.com", created_at=now(),
        content=Written(subject="Hello", html="<p>Hello</p>"),
        message_id=message_id(name, DOMAIN),
    )  # fmt: skip
    at_work = {"not_before": later, "lease": new_id()} if state is State.PARKED else {}
    await database["mails"].insert_one(
        {
            "_id": mail.id, "state": state, "to_email": mail.to_email,
            "data": {"subject": "Hello", "html": "<p>Hello</p>"}, "message_id": mail.message_id,
            "attempts": 1, "created_at": mail.created_at, "reason": "its sender was lost",
        } | at_work
    )  # fmt: skip
    return mail


def arrived(platform: Platform, mail: Mail) -> list[str]:
    """The ids of the messages that their recipient has got."""
    mailbox = Rest(platform.urls["mailbox"])
    found = mailbox.call("GET", f"/api/v1/search?query=to:{mail.to_email}").body["messages"]
    return [each["MessageID"].strip("<>") for each in found]


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await holds():  # noqa: ASYNC110 - it happens elsewhere
            await asyncio.sleep(0.1)

"""What is kept of clients, codes and consents: the same in a dictionary and in MongoDB."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mercato.kernel import clock
from mercato.kernel.identity import new_id
from mercato.platform.mongo import Store
from mercato.user.model.oauth import GRANTS, AuthorizationRequest, Client, registered, s256
from mercato.user.model.oauth_codes import Code, Ticket
from mercato.user.model.sign_in import Identity
from mercato.user.repository.links import MongoLinks
from mercato.user.repository.oauth import CODES, SHAPES, MongoOAuth
from tests.user.memory_oauth import MemoryLinks, MemoryOAuth

NOW = clock.now()
BACK = "https://app.example/back"


@pytest.fixture(scope="module")
async def shaped(store: Store) -> Store:
    await store.ensure(SHAPES)
    return store


@pytest.fixture(params=["memory", "mongo"])
def kept(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemoryOAuth()
    return MongoOAuth(request.getfixturevalue("shaped"))


@pytest.fixture(params=["memory", "mongo"])
def links(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemoryLinks()
    return MongoLinks(request.getfixturevalue("shaped"))


def client() -> Client:
    return registered(
        "App",
        [BACK],
        public=False,
        scopes=["openid", "email", "orders:read"],
        grants=GRANTS,
        now=NOW,
    )[0]


def code(client_id: str) -> tuple[Code, str]:
    asked = AuthorizationRequest(client_id, BACK, nonce="n")
    return Code.new(new_id(), NOW, NOW, s256("v" * 43), asked, frozenset(("openid",)))


async def test_a_client_is_found_as_it_was_added_until_it_is_removed(kept: Any) -> None:
    one = client()
    await kept.add(one)
    assert await kept.get(one.id) == one
    assert one in await kept.all()
    assert await kept.remove(one.id) == one
    assert (await kept.get(one.id), await kept.remove(one.id)) == (None, None)
    for strange in ("", "x", "$where", "0" * 24):
        assert await kept.get(strange) is None


async def test_a_code_counts_its_uses_and_is_its_clients_own(kept: Any) -> None:
    one, text = code(new_id())
    await kept.keep_code(one)
    assert await kept.code(text, one.client_id) == one
    assert await kept.use_code(text, new_id()) is None
    assert await kept.use_code(text, one.client_id) == (one, 0, "")
    assert await kept.gave(one.id, "a session")
    assert await kept.use_code(text, one.client_id) == (one, 1, "a session")
    assert not await kept.gave(one.id, "another")
    assert await kept.use_code("noise", one.client_id) is None


async def test_of_many_who_use_a_code_at_once_one_is_first(kept: Any) -> None:
    one, text = code(new_id())
    await kept.keep_code(one)
    found = await asyncio.gather(*(kept.use_code(text, one.client_id) for _ in range(20)))
    assert sorted(uses for _, uses, _ in found) == list(range(20))


async def test_a_ticket_is_taken_once(kept: Any) -> None:
    asked = AuthorizationRequest(new_id(), BACK)
    ticket, text = Ticket.new(new_id(), asked, "b" * 43, NOW)
    await kept.keep_ticket(ticket)
    assert await kept.take_ticket("noise") is None
    assert await kept.take_ticket(text) == ticket
    assert await kept.take_ticket(text) is None


async def test_what_has_begun_is_forgotten_with_its_user(kept: Any) -> None:
    (mine, text), (theirs, their_text) = code(new_id()), code(new_id())
    asked = AuthorizationRequest(new_id(), BACK)
    ticket, ticket_text = Ticket.new(mine.user_id, asked, "b" * 43, NOW)
    await kept.keep_ticket(ticket)
    for each in (mine, theirs):
        await kept.keep_code(each)
    await kept.use_code(text, mine.client_id)
    await kept.forget(mine.user_id)
    assert not await kept.gave(mine.id, "a session that was being opened")
    assert await kept.code(text, mine.client_id) is None
    assert await kept.take_ticket(ticket_text) is None
    assert await kept.code(their_text, theirs.client_id) == theirs


async def test_consents_add_up_and_go_with_the_client(kept: Any) -> None:
    one, user_id = client(), new_id()
    await kept.add(one)
    assert await kept.consented(user_id, one.id) == frozenset()
    for scopes in ({"openid"}, {"openid", "email"}):
        await kept.consent(user_id, one.id, frozenset(scopes), NOW)
    assert await kept.consented(user_id, one.id) == {"openid", "email"}
    assert await kept.consented(new_id(), one.id) == frozenset()
    given, text = code(one.id)
    await kept.keep_code(given)
    await kept.remove(one.id)
    assert await kept.consented(user_id, one.id) == frozenset()
    assert await kept.code(text, one.id) is None


async def test_an_identity_is_linked_once_and_stays_so(links: Any) -> None:
    ada, user_id = Identity("https://id.example", new_id(), "ada@example.com"), new_id()
    assert await links.user_of(ada) is None
    await links.link(ada, user_id, NOW)
    await links.link(ada, new_id(), NOW)
    assert await links.user_of(ada) == user_id
    assert await links.user_of(Identity(ada.issuer, ada.subject, "new@example.com")) == user_id
    assert await links.user_of(Identity("https://other.example", ada.subject)) is None


async def test_neither_secret_nor_code_stands_in_the_database(shaped: Store) -> None:
    kept = MongoOAuth(shaped)
    one, secret = registered(
        "App", [BACK], public=False, scopes=["openid", "orders:read"], grants=GRANTS, now=NOW
    )
    given, text = code(one.id)
    asked = AuthorizationRequest(one.id, BACK)
    ticket, ticket_text = Ticket.new(new_id(), asked, "b" * 43, NOW)
    await kept.add(one)
    await kept.keep_code(given)
    await kept.keep_ticket(ticket)
    found = [str(document) for name in SHAPES async for document in shaped[name].find()]
    assert len(found) >= 3
    assert not any(each in document for document in found for each in (secret, text, ticket_text))


async def test_a_used_code_is_remembered_for_a_day_and_no_longer(shaped: Store) -> None:
    one, _ = code(new_id())
    await MongoOAuth(shaped).keep_code(one)
    document = await shaped[CODES].find_one({"_id": one.id})
    assert document is not None
    assert document["gone_at"] - document["expires_at"] == timedelta(days=1)
    indexes = await shaped[CODES].index_information()
    assert indexes["gone"]["expireAfterSeconds"] == 0

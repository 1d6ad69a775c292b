"""Sessions on the whole platform: one successor for many, and an old token ends everything."""

import asyncio
import time

from bson import ObjectId

from tests.story.renewing import expire, present
from tests.story.shop import PASSWORD, Shop, eventually

AT_ONCE = 50


async def refresh(shop: Shop, token: str) -> tuple[int, dict[str, str]]:
    answer = await shop.http.post("/api/sessions/refresh", json={"refresh_token": token})
    return answer.status_code, answer.json()


async def test_many_refreshes_at_once_get_one_successor_and_an_old_token_ends_the_session(
    shop: Shop,
) -> None:
    buyer = await shop.register("sessions")
    login = {"email": buyer.email, "password": PASSWORD}
    first = (await shop.http.post("/api/users/authenticate", json=login)).json()
    answers = await asyncio.gather(*(refresh(shop, first["refresh_token"]) for _ in range(AT_ONCE)))
    assert {status for status, _ in answers} == {200}
    (second,) = {body["refresh_token"] for _, body in answers}
    status, third = await refresh(shop, second)
    assert status == 200
    me = {"Authorization": f"Bearer {third['token']}"}
    assert (await shop.http.get("/api/users/me", headers=me)).status_code == 200
    assert (await refresh(shop, first["refresh_token"]))[0] == 401
    began = time.monotonic()

    async def refused() -> bool:
        return (await shop.http.get("/api/users/me", headers=me)).status_code == 401

    await eventually(refused, 2, "the access token of a session that has ended is still good")
    assert time.monotonic() - began < 1
    assert (await refresh(shop, third["refresh_token"]))[0] == 401

    async def told() -> bool:
        event = {"kind": "token.reuse", "user_id": buyer.id}
        return await shop.database.security_events.count_documents(event) == 1

    await eventually(told, 10, "nobody has recorded that a refresh token came again")
    assert (await shop.http.get("/api/users/me", headers=buyer.headers)).status_code == 200


async def test_the_database_holds_no_token(shop: Shop) -> None:
    buyer = await shop.register("hashes")
    login = {"email": buyer.email, "password": PASSWORD}
    granted = (await shop.http.post("/api/users/authenticate", json=login)).json()
    kept = await shop.database.sessions.find({"user_id": ObjectId(buyer.id)}).to_list()
    assert len(kept) == 2
    assert {len(bytes(document["hash"])) for document in kept} == {32}
    assert granted["refresh_token"][20:60] not in str(kept)
    assert granted["token"] not in str(kept)


async def test_who_stays_signed_in_for_hours_gets_new_tokens_on_the_way(shop: Shop) -> None:
    buyer = await shop.register("patient")
    first = present(buyer.headers)
    expire(buyer.headers)
    answer = await shop.http.get("/api/users/me", headers=buyer.headers)
    assert answer.status_code == 200, answer.text
    assert present(buyer.headers) != first

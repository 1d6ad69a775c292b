"""What is tried leaves a trace: who, what, from where; admins read it; no secret is in it."""

import json
from functools import partial
from typing import Any

from tests.command import mercato
from tests.story.shop import Shop, eventually

Found = list[dict[str, Any]]


async def events(shop: Shop, **wanted: str | int) -> Found:
    answer = await shop.http.get("/api/security/events", params=wanted, headers=shop.admin)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["events"])


async def traced(shop: Shop, kind: str, user_id: str, times: int) -> bool:
    found = await events(shop, kind=kind, user_id=user_id)
    return bool(sum(event["count"] for event in found) == times)


async def test_an_admins_deed_is_told_before_it_is_answered(shop: Shop) -> None:
    product = await shop.add_product(3)
    url = f"/api/inventory/{product}/stock"
    body = {"delta": 2, "reason": "delivery"}
    done = await shop.http.post(url, json=body, headers=shop.admin)
    newest, *_ = await events(shop, kind="admin.action", limit=5)
    assert newest["actor"] == f"admin:{newest['user_id']}"
    assert newest["address"] == "127.0.0.1"
    assert newest["detail"] == {
        "method": "POST", "route": "/api/inventory/{id}/stock", "object": product, "status": "200",
        "request_id": done.headers["X-Request-ID"],
    }  # fmt: skip
    made = await events(shop, kind="admin.action", limit=20)
    assert any(e["detail"]["object"] == product and e["detail"]["status"] == "201" for e in made)


async def test_refused_and_failed_attempts_are_told_with_their_number(shop: Shop) -> None:
    curious, owner = await shop.register("curious"), await shop.register("owner")
    product = await shop.add_product(3)
    order = (await shop.place(owner, {product: 1})).json()["id"]
    for _ in range(5):
        refused = await shop.http.post("/api/inventory", json={}, headers=curious.headers)
        assert refused.status_code == 403
        hidden = await shop.http.get(f"/api/orders/{order}", headers=curious.headers)
        assert hidden.status_code == 404
    wrong = {"email": curious.email, "password": "wrong-canary-99"}
    for _ in range(3):
        assert (await shop.http.post("/api/users/authenticate", json=wrong)).status_code == 401
    for kind, times in (("permission.refused", 10), ("login.failed", 3)):
        told = partial(traced, shop, kind, curious.id, times)
        await eventually(told, 20, f"{kind} was not told {times} times")
    found = await events(shop, kind="permission.refused", user_id=curious.id)
    counts = {(e["detail"]["route"], e["detail"]["status"]): 0 for e in found}
    for event in found:
        counts[event["detail"]["route"], event["detail"]["status"]] += event["count"]
    assert counts == {("/api/inventory", "403"): 5, ("/api/orders/{id}", "404"): 5}
    failed = await events(shop, kind="login.failed", user_id=curious.id)
    assert len({event["detail"]["login"] for event in failed}) == 1
    assert "canary" not in json.dumps(failed)
    assert curious.email not in json.dumps(failed)


async def test_the_trail_is_read_page_by_page_and_by_command(shop: Shop) -> None:
    for _ in range(5):
        await shop.add_product(1)
    first = await events(shop, kind="admin.action", limit=2)
    answer = await shop.http.get(
        "/api/security/events",
        params={"kind": "admin.action", "limit": 2, "cursor": first[-1]["id"]},
        headers=shop.admin,
    )
    second = answer.json()["events"]
    assert len(second) == 2
    assert second[0]["id"] < first[-1]["id"]
    place = ("--data-dir", str(shop.platform.data_dir))
    told = mercato("security", "events", "--kind", "admin.action", "--json", "--limit", "4", *place)
    assert told.returncode == 0, told.stderr
    assert [event["id"] for event in json.loads(told.stdout)] == [e["id"] for e in first + second]
    shown = mercato("security", "events", "--since", "1h", "--limit", "3", *place)
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) == 3
    wrong = mercato("security", "events", "--since", "lunch", *place)
    assert wrong.returncode == 2
    assert "is no time" in wrong.stderr

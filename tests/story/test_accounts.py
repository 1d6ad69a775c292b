"""An account's mailed links and second factor, through the public doors and the mailbox."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pyotp
import pytest

from mercato.kernel.identity import new_id
from tests.story.shop import PASSWORD, Customer, Shop, eventually

LINK = re.compile(r'href="(http://[^"]+)"')
NEW = "another good one"


@pytest.fixture
async def browser(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30) as client:
        yield client


async def link(shop: Shop, email: str, subject: str) -> str:
    """Returns the link of the last mail with this subject, once it is there."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = [m for m in await shop.mails_to(email) if subject in m["Subject"]]
        return bool(found)

    await eventually(there, 20, f"{email} has got no mail {subject!r}")
    mail = await shop.mailbox.get(f"/api/v1/message/{found[0]['ID']}")
    href = LINK.search(mail.json()["HTML"])
    assert href, mail.text
    return href[1]


async def profile(shop: Shop, who: Customer) -> dict[str, Any]:
    answer = await shop.http.get("/api/users/me", headers=who.headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def signs_in(shop: Shop, email: str, password: str, otp: str = "") -> httpx2.Response:
    body = {"email": email, "password": password} | ({"otp": otp} if otp else {})
    return await shop.http.post("/api/users/authenticate", json=body)


async def test_an_address_is_verified_by_the_form_behind_its_link(
    shop: Shop, browser: httpx2.AsyncClient
) -> None:
    who = await shop.register("verifies")
    url = await link(shop, who.email, "Welcome")
    path, _, token = url.partition("?token=")
    assert (path, len(token)) == (f"{shop.url}/account/verify", 43)
    for _ in range(2):  # a scanner of mail opens it before its reader does
        page = await browser.get(url)
        assert page.status_code == 200
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert "script" not in page.headers["content-security-policy"] + page.text
    assert not (await profile(shop, who))["email_verified"]
    page = await browser.post(path, data={"token": token})
    assert (page.status_code, "is verified" in page.text) == (200, True)
    assert (await profile(shop, who))["email_verified"]
    again = await browser.post(path, data={"token": token})
    assert (again.status_code, "not good any more" in again.text) == (422, True)
    kept = await shop.database.mails.find_one({"_id": f"{who.id}:welcome"})
    assert kept is not None
    assert "link" not in kept["data"]


async def test_a_lost_password_is_set_anew_by_a_mailed_link(
    shop: Shop, browser: httpx2.AsyncClient
) -> None:
    who = await shop.register("forgets")
    answers = [
        await shop.http.post("/api/users/password/forgot", json={"email": email})
        for email in (who.email, f"nobody-{new_id()}@example.com")
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    path, _, token = (await link(shop, who.email, "Set a new password")).partition("?token=")
    refused = await browser.post(path, data={"token": token, "password": "password1"})
    assert (refused.status_code, token in refused.text) == (422, True)
    done = await browser.post(path, data={"token": token, "password": NEW})
    assert done.status_code == 200, done.text
    assert (await signs_in(shop, who.email, PASSWORD)).status_code == 401
    assert (await signs_in(shop, who.email, NEW)).status_code == 200
    body = {"token": token, "password": PASSWORD}
    spent = await shop.http.post("/api/users/password/reset", json=body)
    assert (spent.status_code, spent.json()["code"]) == (422, "invalid-link")
    assert [each["pointer"] for each in spent.json()["errors"]] == ["/token"]
    subjects = await shop.gets_mails(who.email, 3)
    assert subjects[0] == "Set a new password"
    assert subjects[2] == "Your password was changed"


async def test_a_new_password_ends_the_other_sessions_and_a_link_ends_all(shop: Shop) -> None:
    who = await shop.register("moves")
    here, there = [(await signs_in(shop, who.email, PASSWORD)).json() for _ in range(2)]
    headers = {"Authorization": f"Bearer {here['token']}"}
    wish = {"password": NEW, "current_password": PASSWORD}
    changed = await shop.http.patch("/api/users/me", json=wish, headers=headers)
    assert changed.status_code == 200, changed.text
    assert [await refreshed(shop, each) for each in (here, there)] == [200, 401]
    home = (await signs_in(shop, who.email, NEW)).json()
    await shop.http.post("/api/users/password/forgot", json={"email": who.email})
    _, _, token = (await link(shop, who.email, "Set a new password")).partition("?token=")
    body = {"token": token, "password": PASSWORD}
    assert (await shop.http.post("/api/users/password/reset", json=body)).status_code == 204
    assert await refreshed(shop, home) == 401


async def refreshed(shop: Shop, session: dict[str, Any]) -> int:
    body = {"refresh_token": session["refresh_token"]}
    return (await shop.http.post("/api/sessions/refresh", json=body)).status_code


async def test_a_second_factor_is_turned_on_asked_for_and_turned_off(shop: Shop) -> None:
    who = await shop.register("careful")
    begun = await shop.http.post(
        "/api/users/me/totp", json={"password": PASSWORD}, headers=who.headers
    )
    assert begun.status_code == 200, begun.text
    totp = pyotp.parse_uri(begun.json()["uri"])
    assert isinstance(totp, pyotp.TOTP)
    code = {"code": totp.now()}
    confirmed = await shop.http.post("/api/users/me/totp/confirm", json=code, headers=who.headers)
    assert confirmed.status_code == 200, confirmed.text
    recovery = confirmed.json()["recovery_codes"]
    assert len(recovery) == 10
    asked = await signs_in(shop, who.email, PASSWORD)
    assert (asked.status_code, asked.json()["code"]) == (401, "otp-required")
    wrong = await signs_in(shop, who.email, PASSWORD, code["code"])  # was used a moment ago
    assert (wrong.status_code, wrong.json()["code"]) == (401, "otp-wrong")
    assert (await signs_in(shop, who.email, PASSWORD, recovery[0])).status_code == 200
    ended = await shop.http.request(
        "DELETE", "/api/users/me/totp", headers=who.headers,
        json={"password": PASSWORD, "code": recovery[1]},
    )  # fmt: skip
    assert ended.status_code == 204, ended.text
    assert (await signs_in(shop, who.email, PASSWORD)).status_code == 200


@pytest.mark.parametrize("password", ["password1", "iloveyou"])
async def test_a_common_password_is_refused_by_name(shop: Shop, password: str) -> None:
    body = {"email": f"{new_id()}@example.com", "password": password}
    answer = await shop.http.post("/api/users/register", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "password-too-common")
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/password"]

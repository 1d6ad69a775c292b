"""The pages where somebody signs in and consents: whom they let in, and where they lead."""

import secrets
from typing import Any
from urllib.parse import urlencode

import httpx2
import pyotp
import pytest

from mercato.kernel.identity import new_id
from mercato.user.model.oauth import s256
from tests.story.browser import Browser, Form, answer_in
from tests.story.oauth import BACK, Program, registered
from tests.story.shop import PASSWORD, Customer, Shop

VERIFIER = "v" * 43


@pytest.fixture(scope="module")
async def program(shop: Shop) -> Program:
    return await registered(shop, name="<script>alert('Ada & co')</script>")


@pytest.fixture(scope="module")
async def ada(shop: Shop) -> Customer:
    return await shop.register("ada")


def address(program: Program, **more: str) -> str:
    asked = {
        "client_id": program.id, "redirect_uri": BACK, "response_type": "code", "scope": "openid",
        "state": "s-1", "code_challenge": s256(VERIFIER), "code_challenge_method": "S256",
    } | more  # fmt: skip
    return f"/oauth/authorize?{urlencode({k: v for k, v in asked.items() if v})}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"redirect_uri": "https://evil.example/"}, {"redirect_uri": BACK + "/"},
        {"redirect_uri": BACK + "?x=1"}, {"redirect_uri": ""}, {"client_id": new_id()},
        {"client_id": ""}, {"client_id": "$where"}, {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "https://evil.example/", "scope": "root"},
        {"redirect_uri": "https://evil.example/", "response_type": "token"},
        {"redirect_uri": "https://app.example@evil.example/back"}, {"scope": "x" * 501},
    ],
    ids=str,
)  # fmt: skip
async def test_nobody_is_sent_to_an_address_that_is_not_registered(
    shop: Shop, program: Program, wrong: dict[str, str]
) -> None:
    for answer in (
        await shop.http.get(address(program, **wrong)),
        await shop.http.post("/oauth/authorize", data=answer_in(address(program, **wrong))),
    ):
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert "evil" not in answer.text
        assert answer.headers["content-type"].startswith("text/html")


async def test_a_parameter_that_is_given_twice_is_not_chosen_between(
    shop: Shop, program: Program
) -> None:
    twice = f"{address(program)}&{urlencode({'redirect_uri': 'https://evil.example/'})}"
    answer = await shop.http.get(twice)
    assert (answer.status_code, "location" in answer.headers) == (400, False)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": ""}, "unsupported_response_type"),
        ({"scope": "openid catalogue:write"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"request": "e30.e30."}, "invalid_request"),
        ({"request_uri": "https://evil.example/"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"max_age": "abc"}, "invalid_request"),
    ],
    ids=str,
)  # fmt: skip
async def test_the_client_hears_what_is_wrong_with_its_request(
    shop: Shop, program: Program, wrong: dict[str, str], error: str
) -> None:
    answer = await shop.http.get(address(program, **wrong))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{BACK}?")
    told = answer_in(answer.headers["location"])
    assert (told["error"], told["state"], told["iss"]) == (error, "s-1", program.issuer)
    assert "code" not in told


async def test_a_page_lets_nothing_in_and_leads_only_back(shop: Shop, program: Program) -> None:
    async with Browser(shop.url) as browser:
        page = await browser.open(address(program))
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' https://app.example" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "<script" not in page.text
    assert "&lt;script&gt;alert(&#39;Ada &amp; co" in page.text
    assert "http" not in page.text.replace(BACK, "")  # nothing is loaded from anywhere


async def test_what_a_stranger_writes_into_a_page_stays_text(shop: Shop, program: Program) -> None:
    evil = "\"><img src=x onerror=alert(1)>'"
    async with Browser(shop.url) as browser:
        page = await browser.open(address(program, state=evil, nonce=evil))
        again = await browser.log_in(page, evil, "wrong")
    for shown in (page, again):
        assert "<img" not in shown.text
        assert Form(shown.text).fields["state"] == evil
    assert again.status_code == 422


async def test_a_wrong_password_is_told_apart_from_nothing(
    shop: Shop, program: Program, ada: Customer
) -> None:
    async with Browser(shop.url) as browser:
        page = await browser.open(address(program))
        known = await browser.log_in(page, ada.email, "wrong")
        nobody = f"{new_id()}@example.com"
        unknown = await browser.log_in(page, nobody, "wrong")
    assert (known.status_code, unknown.status_code) == (422, 422)
    assert "wrong" in known.text
    shown = [
        each.text.replace(login, "") for each, login in ((known, ada.email), (unknown, nobody))
    ]
    assert shown[0] == shown[1]


async def send(
    shop: Shop, fields: dict[str, str], headers: dict[str, str], cookies: Any = None
) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=shop.url, cookies=cookies) as stranger:
        return await stranger.post("/oauth/authorize", data=fields, headers=headers)


async def test_a_form_from_elsewhere_does_nothing(
    shop: Shop, program: Program, ada: Customer
) -> None:
    async with Browser(shop.url) as browser:
        page = await browser.open(address(program))
        login = Form(page.text).fields | {
            "step": "login", "login": ada.email, "password": PASSWORD
        }  # fmt: skip
        cookies = dict(browser.http.cookies)
        here = {"Origin": shop.url, "Sec-Fetch-Site": "same-origin"}
        refused = [
            await send(shop, login, headers=here),  # without this browser's cookie
            await send(shop, login | {"csrf": ""}, headers=here, cookies=cookies),
            await send(shop, login | {"csrf": "x" * 43}, headers=here, cookies=cookies),
            await send(shop, login, cookies=cookies, headers={"Origin": "https://evil.example"}),
            await send(shop, login, cookies=cookies, headers={"Sec-Fetch-Site": "cross-site"}),
            await send(shop, login, cookies={name: "made up" for name in cookies}, headers=here),
        ]
        consent = Form((await browser.log_in(page, ada.email, PASSWORD)).text).fields
        consent |= {"step": "consent", "answer": "allow"}
        refused.append(await send(shop, consent, headers=here))
        async with Browser(shop.url) as thief:  # has the ticket, and a form token of its own
            own = Form((await thief.open(address(program))).text).fields["csrf"]
            stolen = consent | {"csrf": own}
            answer = await thief.http.post("/oauth/authorize", data=stolen, headers=here)
            assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert not any("location" in answer.headers for answer in refused)


async def test_a_step_cannot_be_taken_by_an_address(
    shop: Shop, program: Program, ada: Customer
) -> None:
    async with Browser(shop.url) as browser:
        page = await browser.open(address(program))
        fields = Form(page.text).fields | {"step": "login", "login": ada.email}
        answer = await browser.open(
            f"/oauth/authorize?{urlencode(fields | {'password': PASSWORD})}"
        )
    assert answer.status_code == 200
    assert 'name="password"' in answer.text  # still the form to sign in with


async def test_consent_covers_the_request_that_was_shown_and_no_wider_one(
    shop: Shop, program: Program, ada: Customer
) -> None:
    async with Browser(shop.url) as browser:
        page = await browser.log_in(await browser.open(address(program)), ada.email, PASSWORD)
        assert "know which account is yours" in page.text
        wider = await browser.send(
            page, step="consent", answer="allow", scope="openid orders:write"
        )
    assert (wider.status_code, "location" in wider.headers) == (400, False)


async def test_who_says_no_is_sent_back_without_a_code(shop: Shop, ada: Customer) -> None:
    program = await registered(shop)
    async with Browser(shop.url) as browser:
        page = await browser.log_in(await browser.open(address(program)), ada.email, PASSWORD)
        answer = await browser.send(page, step="consent", answer="deny")
        told = answer_in(answer.headers["location"])
        assert (told["error"], told["state"], "code" in told) == ("access_denied", "s-1", False)
        again = await browser.send(page, step="consent", answer="allow")
        assert again.status_code == 400


async def test_an_account_with_a_second_factor_is_asked_for_it(
    shop: Shop, program: Program
) -> None:
    eve = await shop.register("eve")
    begun = (await shop.http.post(
        "/api/users/me/totp", json={"password": PASSWORD}, headers=eve.headers
    )).json()  # fmt: skip
    authenticator = pyotp.TOTP(begun["secret"])
    confirmed = await shop.http.post(
        "/api/users/me/totp/confirm", json={"code": authenticator.now()}, headers=eve.headers
    )
    assert confirmed.status_code == 200, confirmed.text
    recovery = confirmed.json()["recovery_codes"][0]
    async with Browser(shop.url) as browser:
        page = await browser.open(address(program))
        without = await browser.log_in(page, eve.email, PASSWORD)
        wrong = await browser.log_in(page, eve.email, PASSWORD, "000000")
        assert [without.status_code, wrong.status_code] == [422, 422]
        assert "authenticator" in without.text
        right = await browser.log_in(page, eve.email, PASSWORD, recovery)
        assert (right.status_code, "Allow" in right.text) == (200, True)


async def test_a_code_is_for_its_own_client_and_verifier_once(
    shop: Shop, program: Program, ada: Customer
) -> None:
    async with Browser(shop.url) as browser:
        url = f"{shop.url}{address(program)}"
        code = answer_in(await browser.agree(url, ada.email, PASSWORD))["code"]
    thief = await registered(shop)

    async def redeem(by: Program, **more: str) -> httpx2.Response:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": BACK,
            "code_verifier": VERIFIER,
        } | more  # fmt: skip
        proof = httpx2.BasicAuth(by.id, by.secret)
        return await shop.http.post("/oauth/token", data=form, auth=proof)

    for answer in (await redeem(thief), await redeem(thief, code=secrets.token_urlsafe(32))):
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    good = await redeem(program)
    assert good.status_code == 200
    again = await redeem(program)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    token = good.json()["access_token"]
    known = await shop.http.post(
        "/oauth/introspect", data={"token": token},
        auth=httpx2.BasicAuth(program.id, program.secret),
    )  # fmt: skip
    assert known.json() == {"active": False}  # the second use took back what the first gave

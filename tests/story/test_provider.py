"""Signing in through an outside OpenID provider: a second house of ours asks the first one."""

import contextlib
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pyotp
import pytest

from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from mercato.pb.user_pb2 import UserRequest
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform.rpc import Channels
from mercato.platform.settings import Secret
from mercato.platform.tokens import Tokens
from mercato.user.model.oauth import s256
from tests.gateway.conftest import served
from tests.story.browser import Browser, answer_in
from tests.story.oauth import registered
from tests.story.shop import PASSWORD, Shop

VERIFIER = "v" * 43
START = f"/oauth/providers/first/start?code_challenge={s256(VERIFIER)}"


@dataclass
class House:
    """A second shop, whose people sign in with the first one's accounts."""

    url: str
    platform: Platform
    first: Shop

    async def sign_in(self, email: str, browser: httpx2.AsyncClient) -> httpx2.Response:
        """Goes to the first shop, signs in and consents there, and comes back."""
        gone = await browser.get(START)
        assert gone.status_code == 303, gone.text
        async with Browser(self.first.url) as there:
            back = await there.agree(gone.headers["location"], email, PASSWORD)
        return await browser.get(back)

    async def exchange(self, code: str, verifier: str = VERIFIER, otp: str = "") -> httpx2.Response:
        body = {"code": code, "code_verifier": verifier} | ({"otp": otp} if otp else {})
        async with self.browser() as front_end:
            return await front_end.post("/api/sessions/exchange", json=body)

    async def second_factor(self, email: str) -> pyotp.TOTP:
        """Switches on the second factor of an account of this house."""
        async with self.browser() as here:
            login = {"email": email, "password": PASSWORD}
            session = (await here.post("/api/users/authenticate", json=login)).json()
            headers = {"Authorization": f"Bearer {session['token']}"}
            begun = await here.post(
                "/api/users/me/totp", json={"password": PASSWORD}, headers=headers
            )
            totp = pyotp.parse_uri(begun.json()["uri"])
            assert isinstance(totp, pyotp.TOTP)
            code = {"code": totp.now()}
            done = await here.post("/api/users/me/totp/confirm", json=code, headers=headers)
            assert done.status_code == 200, done.text
            return totp

    async def user(self, email: str) -> tuple[str, str]:
        """Signs in; returns who that is in this house."""
        async with self.browser() as browser:
            code = (await self.sign_in(email, browser)).json()["code"]
            session = await self.exchange(code)
            assert session.status_code == 200, session.text
            headers = {"Authorization": f"Bearer {session.json()['token']}"}
            me = (await browser.get("/api/users/me", headers=headers)).json()
            return me["id"], me["email"]

    def browser(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=20)


async def vouched(platform: Platform) -> tuple[str, str]:
    """Registers somebody whose address the operator vouches for; returns id and address."""
    email = f"{new_id()}@example.com"
    return await add(platform, email), email


async def add(platform: Platform, email: str, service: str = "cli") -> str:
    channels = Channels(Tokens(platform.environment["JWT_SECRET"]), service)
    async with channels.open(platform.environment["USER_SERVICE"]) as channel:
        wish = UserRequest(email=email, password=PASSWORD)
        return (await channels.call(UserServiceStub(channel).RegisterUser, wish)).id


@pytest.fixture(scope="module")
async def house(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    program = await registered(
        shop,
        redirect_uris=[f"{url}/oauth/providers/first/callback"],
        scopes=["openid", "email"],
        grants=["authorization_code"],
    )
    around = shop.platform.environment
    given = Given(
        mongo_uri=Secret(around["MONGO_URI"]), mongo_db_name="second_house",
        redis_addr=around["REDIS_ADDR"], redis_db=1, nats_url=Secret(around["NATS_URL"]),
        smtp_host="127.0.0.1", smtp_port="9",
    )  # fmt: skip
    told = {
        "OIDC_NAME": "first", "OIDC_ISSUER": program.issuer,
        "OIDC_CLIENT_ID": program.id, "OIDC_CLIENT_SECRET": program.secret,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in told.items():
            environment.setenv(name, value)
        async with Platform.open(
            folder, services=("user",), given=given, rewire=lambda _: {"PUBLIC_URL": url}
        ) as platform:
            here = platform.environment
            async with served(
                port=port, public_url=url, user_service=here["USER_SERVICE"],
                jwt_secret=Secret(here["JWT_SECRET"]), jwt_jwks_file=here["JWT_JWKS_FILE"],
            ):  # fmt: skip
                yield House(url, platform, shop)


async def test_somebody_new_gets_an_account_and_keeps_it(house: House) -> None:
    there_id, email = await vouched(house.first.platform)
    user_id, here = await house.user(email)
    assert here == email
    assert user_id != there_id
    assert await house.user(email) == (user_id, email)


async def test_an_account_whose_address_both_have_verified_is_linked(house: House) -> None:
    _, email = await vouched(house.first.platform)
    local = await add(house.platform, email)
    assert await house.user(email) == (local, email)


async def test_an_account_that_has_not_verified_its_address_is_not_linked(house: House) -> None:
    _, email = await vouched(house.first.platform)
    await add(house.platform, email, service="gateway")  # as anybody registers
    async with house.browser() as browser:
        answer = await house.sign_in(email, browser)
    assert (answer.status_code, answer.json()) == (403, {"error": "account_not_verified"})


async def test_an_address_that_the_provider_has_not_verified_is_nobodys(house: House) -> None:
    somebody = await house.first.register("unverified")
    async with house.browser() as browser:
        answer = await house.sign_in(somebody.email, browser)
    assert (answer.status_code, answer.json()) == (403, {"error": "email_not_verified"})


async def test_an_answer_serves_the_browser_that_asked_for_it(house: House) -> None:
    _, email = await vouched(house.first.platform)
    async with house.browser() as ours, house.browser() as thief, Browser(house.first.url) as there:
        gone = await ours.get(START)
        back = await there.agree(gone.headers["location"], email, PASSWORD)
        nobody = await thief.get(back)
        assert (nobody.status_code, nobody.json()) == (403, {"error": "sign_in_expired"})
        begun = await thief.get(START)
        # the code slipped into another attempt, under that one's own state
        state = dict(parse_qsl(urlsplit(begun.headers["location"]).query))["state"]
        slipped = answer_in(back) | {"state": state}
        where = back.partition("?")[0]
        refused = await thief.get(f"{where}?{urlencode(slipped)}")
        assert (refused.status_code, refused.json()) == (403, {"error": "sign_in_refused"})


@pytest.mark.parametrize(
    "change",
    [{"state": "x" * 43}, {"state": ""}, {"iss": "https://evil.example"}, {"iss": ""}],
    ids=str,
)
async def test_an_answer_that_is_another_ones_is_refused(
    house: House, change: dict[str, str]
) -> None:
    async with house.browser() as browser:
        await browser.get(START)
        answer = {"code": "c", "state": "s", "iss": house.first.platform.environment["PUBLIC_URL"]}
        query = urlencode(answer | change)
        refused = await browser.get(f"/oauth/providers/first/callback?{query}")
        assert (refused.status_code, refused.json()) == (403, {"error": "sign_in_refused"})
        again = await browser.get(f"/oauth/providers/first/callback?{query}")
        assert again.json() == {"error": "sign_in_expired"}


async def test_a_code_is_for_its_verifier_and_for_one_use(house: House) -> None:
    _, email = await vouched(house.first.platform)
    async with house.browser() as browser:
        for verifiers in (["w" * 43, VERIFIER], [VERIFIER, VERIFIER]):
            code = (await house.sign_in(email, browser)).json()["code"]
            answers = [await house.exchange(code, verifier) for verifier in verifiers]
            assert answers[-1].status_code == 422
            assert answers[-1].json()["code"] == "invalid-grant"
        unknown = await house.exchange("made up")
        assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid-grant")


async def test_a_provider_stands_for_the_password_and_not_for_the_second_factor(
    house: House,
) -> None:
    _, email = await vouched(house.first.platform)
    await add(house.platform, email)
    totp = await house.second_factor(email)
    async with house.browser() as browser:
        code = (await house.sign_in(email, browser)).json()["code"]
    asked = await house.exchange(code)
    assert (asked.status_code, asked.json()["code"]) == (401, "otp-required")
    wrong = await house.exchange(code, otp="000000")
    assert (wrong.status_code, wrong.json()["code"]) == (401, "otp-wrong")
    right = await house.exchange(code, otp=totp.at(time.time() + totp.interval))
    assert right.status_code == 200, right.text


async def test_a_sign_in_is_begun_with_a_challenge_at_a_provider_that_there_is(
    house: House,
) -> None:
    async with house.browser() as browser:
        bare = await browser.get("/oauth/providers/first/start")
        plain = await browser.get("/oauth/providers/first/start?code_challenge=short")
        other = await browser.get(START.replace("first", "second"))
    assert [answer.status_code for answer in (bare, plain, other)] == [422, 422, 404]

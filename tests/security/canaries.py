"""Secrets that can be told apart from everything else, and where they must never turn up."""

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import pyotp

from mercato.embedded.supervisor import Platform
from mercato.kernel.identity import new_id
from tests.story.shop import Shop, eventually

LINK: Final = re.compile(r"\?token=([\w-]{20,})")
USERINFO: Final = re.compile(r"//[^/@\s:]*:([^/@\s]+)@")


class Canaries:
    """What is secret, and every answer in which none of it may stand."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.secrets: set[str] = set(of_platform(shop.platform))
        self.answers: list[str] = []

    def new(self) -> str:
        secret = f"canary-{new_id()}-{new_id()}"
        self.secrets.add(secret)
        return secret

    async def asks(self, method: str, path: str, *, says: str = "", **more: Any) -> httpx2.Response:
        """Asks; the answer may hold no secret but what stands in the fields `says` of it."""
        answer = await self._shop.http.request(method, path, **more)
        text = answer.text
        for name in says.split():
            value = answer.json()[name]
            self.secrets.add(value)
            text = text.replace(value, "")
        self.answers.append(f"{answer.status_code} {answer.headers} {text}")
        return answer

    async def customer(self) -> None:
        """One account's life: made, signed in, wrongly and rightly, reset, and a second factor."""
        email, password = f"canary-{new_id()}@example.com", self.new()
        login = {"email": email, "password": password}
        await self.asks("POST", "/api/users/register", json=login)
        await self.asks(
            "POST", "/api/users/authenticate", json={"email": email, "password": self.new()}
        )
        signed = await self.asks(
            "POST", "/api/users/authenticate", json=login, says="token refresh_token"
        )
        headers = {"Authorization": f"Bearer {signed.json()['token']}"}
        wish = {"password": password}
        totp = await self.asks(
            "POST", "/api/users/me/totp", json=wish, headers=headers, says="secret"
        )
        code = pyotp.TOTP(totp.json()["secret"]).now()
        await self.asks("POST", "/api/users/me/totp/confirm", json={"code": code}, headers=headers)
        await self._reset(email)
        await self._mistakes(headers)

    async def _reset(self, email: str) -> None:
        await self.asks("POST", "/api/users/password/forgot", json={"email": email})
        found: list[str] = []

        async def links() -> bool:
            for mail in await self._shop.mails_to(email):
                text = (await self._shop.mailbox.get(f"/api/v1/message/{mail['ID']}")).text
                found.extend(LINK.findall(text))
            return len(set(found)) >= 2

        await eventually(links, 30, f"{email} got no links")
        self.secrets.update(found)
        for token in set(found):
            body = {"token": token, "password": self.new()}
            await self.asks("POST", "/api/users/password/reset", json=body)

    async def _mistakes(self, headers: dict[str, str]) -> None:
        """Secrets where none belong: in a query, a cookie, a wrong field, JSON that is none."""
        secret = self.new()
        for method, path, more in (
            ("GET", f"/api/orders?token={secret}", {"headers": headers}),
            ("GET", f"/api/inventory?password={secret}", {}),
            ("GET", "/api/users/me", {"headers": {"Authorization": f"Bearer {secret}"}}),
            ("GET", "/api/users/me", {"headers": {"Cookie": f"session={secret}"}}),
            ("POST", "/api/users/authenticate", {"json": {"password": secret}}),
            ("POST", "/api/users/authenticate", {"content": f'{{"password": "{secret}"'}),
            ("POST", "/api/users/register", {"json": {"email": "no", "password": secret}}),
            ("POST", "/api/orders", {"headers": headers, "json": {"password": secret}}),
        ):
            await self.asks(method, path, **more)

    async def leaks(self) -> list[str]:
        """Returns where a secret turned up: in an answer, a log, a measure, the trail."""
        database = self._shop.database
        trail = [repr(event) async for event in database.security_events.find()]
        places = {
            "answers": "\n".join(self.answers),
            "the trail": "\n".join(trail),
            "/metrics": (await self._shop.http.get("/metrics")).text,
            **await asyncio.to_thread(logs, self._shop.platform.data_dir),
        }
        return found_in(places, self.secrets)


def of_platform(platform: Platform) -> Iterable[str]:
    """Returns what the platform's parts know each other by."""
    environment = platform.environment
    yield environment["JWT_SECRET"]
    for name in ("MONGO_URI", "NATS_URL"):
        yield from USERINFO.findall(environment.get(name, ""))
    known = platform.data_dir / "passwords.json"
    if known.exists():
        yield from msgspec.json.decode(known.read_bytes(), type=dict[str, str]).values()


def logs(data_dir: Path) -> dict[str, str]:
    files = (data_dir / "logs").glob("*.log*")
    return {file.name: file.read_text(errors="replace") for file in files}


def found_in(places: dict[str, str], secrets: Iterable[str]) -> list[str]:
    sought = [each for each in secrets if len(each) >= 8]
    assert sought
    return [
        f"{place}: {secret[:10]}..."
        for place, text in places.items()
        for secret in sought
        if secret in text
    ]

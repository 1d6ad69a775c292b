"""A browser without JavaScript: it keeps cookies, reads forms, and stops where it is sent away."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2


class Form(HTMLParser):
    """The hidden fields of a page's form, and whatever the page says."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.text = page
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden":
            self.fields[str(given["name"])] = given.get("value") or ""


class Browser:
    """Somebody at a shop's pages."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.AsyncClient(base_url=url, timeout=20)

    async def __aenter__(self) -> "Browser":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def open(self, url: str) -> httpx2.Response:
        """Opens a page; does not follow where it is sent."""
        return await self.http.get(url)

    async def send(self, page: httpx2.Response, **typed: str) -> httpx2.Response:
        """Sends the form of `page`, as a browser does from our own origin."""
        headers = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        fields = Form(page.text).fields | typed
        return await self.http.post("/oauth/authorize", data=fields, headers=headers)

    async def log_in(self, page: httpx2.Response, login: str, password: str, otp: str = "") -> Any:
        return await self.send(page, step="login", login=login, password=password, otp=otp)

    async def agree(self, url: str, login: str, password: str) -> str:
        """Logs in, allows what is asked, and returns where the browser is sent."""
        page = await self.open(url)
        assert page.status_code == 200, page.text
        page = await self.log_in(page, login, password)
        if page.status_code == 200:
            page = await self.send(page, step="consent", answer="allow")
        assert page.status_code == 303, page.text
        return str(page.headers["location"])


def answer_in(location: str) -> dict[str, str]:
    """Returns the parameters that a browser brings back to a client."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

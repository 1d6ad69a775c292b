"""The HTTP side: Mailpit's list, search and message routes, and pages to read the mail on."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from jinja2 import Environment, PackageLoader

from mercato.embedded.mailbox.message import full, summary
from mercato.embedded.mailbox.store import Entry, Store

LIMIT_DEFAULT = 50
LIMIT_MAX = 1_000
BODY_BYTES_MAX = 1024 * 1024
LATEST = "latest"
PROBES = ("/livez", "/readyz")
SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'",
}
# A mail is hostile until proven otherwise: no scripts, forms, plug-ins, or requests to anywhere.
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; "
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
)

Query = Mapping[str, str]
Reply = tuple[int, str, bytes]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Web:
    """The ASGI application."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reading = asyncio.Lock()
        self._pages = Environment(loader=PackageLoader("mercato.embedded.mailbox"), autoescape=True)
        self._gets: list[tuple[str, Callable[..., Reply]]] = [
            (r"/", self._list_page),
            (r"/view/([\w-]+)", self._message_page),
            (r"/view/([\w-]+)\.html", self._html),
            (r"/api/v1/messages", self._messages),
            (r"/api/v1/search", self._messages),
            (r"/api/v1/message/([\w-]+)", self._message),
            (r"/api/v1/message/([\w-]+)/raw", self._raw),
        ]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        query = {
            name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()
        }
        if method == "DELETE" and path == "/api/v1/messages":
            reply = self._delete(await _body(receive))
        elif method in ("GET", "HEAD"):
            reply = await self._got(path, query)
        else:
            reply = (405, "text/plain", b"method not allowed")
        await _answer(send, reply, MAIL_POLICY if path.endswith(".html") else None)

    async def _got(self, path: str, query: Query) -> Reply:
        """Out of the loop, for a list parses many mails; one by one, for SMTP needs threads too."""
        if path in PROBES:
            return (200, "text/plain", b"ok")
        async with self._reading:
            return await asyncio.to_thread(self._get, path, query)

    def _get(self, path: str, query: Query) -> Reply:
        for pattern, handle in self._gets:
            if match := re.fullmatch(pattern, path):
                return handle(query, *match.groups())
        return _missing()

    def _messages(self, query: Query) -> Reply:
        found = [entry for entry in self._store.newest_first() if _matches(entry, query)]
        start, limit = _number(query, "start", 0), _number(query, "limit", LIMIT_DEFAULT)
        page = found[start : start + min(limit, LIMIT_MAX)]
        return _json(
            {
                "total": len(self._store),
                "unread": 0,
                "count": len(page),
                "messages_count": len(found),
                "messages_unread": 0,
                "start": start,
                "tags": [],
                "messages": [
                    summary(entry.id, raw) for entry in page if (raw := self._store.read(entry.id))
                ],
            }
        )

    def _message(self, query: Query, id: str) -> Reply:
        found = self._find(id)
        return _json(full(*found)) if found else _missing()

    def _raw(self, query: Query, id: str) -> Reply:
        found = self._find(id)
        return (200, "text/plain; charset=utf-8", found[1]) if found else _missing()

    def _html(self, query: Query, id: str) -> Reply:
        found = self._find(id)
        return _page(full(*found)["HTML"]) if found else _missing()

    def _message_page(self, query: Query, id: str) -> Reply:
        found = self._find(id)
        if found is None:
            return _missing()
        return _page(self._pages.get_template("message.html").render(mail=full(*found)))

    def _list_page(self, query: Query) -> Reply:
        listed = msgspec.json.decode(self._messages(query)[2])
        return _page(self._pages.get_template("list.html").render(query=query, **listed))

    def _delete(self, body: bytes) -> Reply:
        try:
            ids = msgspec.json.decode(body or b"{}", type=dict[str, list[str]]).get("IDs")
        except msgspec.DecodeError:
            return (400, "text/plain", b"the body is not an object with a list of IDs")
        self._store.delete(ids or [entry.id for entry in self._store.newest_first()])
        return (200, "text/plain", b"ok")

    def _find(self, id: str) -> tuple[str, bytes] | None:
        entries = self._store.newest_first() if id == LATEST else []
        id = entries[0].id if entries else id
        raw = self._store.read(id)
        return (id, raw) if raw is not None else None


def _matches(entry: Entry, query: Query) -> bool:
    """Every term of the query: `message-id:ID`, `to:ADDRESS`; other terms match nothing."""
    for term in re.findall(r'(?:"[^"]*"|\S)+', query.get("query", "")):
        name, _, value = term.replace('"', "").partition(":")
        if name == "message-id":
            met = entry.message_id == value.strip("<>")
        else:
            met = name == "to" and any(value.lower() in one for one in entry.recipients)
        if not met:
            return False
    return True


def _number(query: Query, name: str, otherwise: int) -> int:
    value = query.get(name, "")
    return int(value) if re.fullmatch("[0-9]{1,18}", value) else otherwise


def _json(content: object) -> Reply:
    return (200, "application/json", msgspec.json.encode(content))


def _page(html: str) -> Reply:
    return (200, "text/html; charset=utf-8", html.encode(errors="replace"))


def _missing() -> Reply:
    return (404, "text/plain", b"there is no such message or page")


async def _body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more and len(body) <= BODY_BYTES_MAX:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def _answer(send: Send, reply: Reply, policy: str | None) -> None:
    status, kind, content = reply
    headers = {**SAFE_HEADERS, "content-type": kind, "content-length": str(len(content))}
    if policy:
        headers["content-security-policy"] = policy
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})

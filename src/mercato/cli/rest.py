"""A small REST client: JSON in and out, exact numbers, a connection a call."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from mercato.embedded.errors import PlatformError, UsageError

TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is the JSON of it, None where there is none; numbers with a point are Decimals."""

    status: int
    headers: Message
    body: Any


class Rest:
    """The server at `url`, called for one `token` or for nobody; `tls` says whom to trust."""

    def __init__(self, url: str, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        """Raises UsageError when `url` is none."""
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # its port is no number, or its brackets do not match
            fits = False
        if not fits:
            raise UsageError(f"{url!r} is no URL of a platform", "such as http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._tls = tls
        self._host, self._path = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
        self._token = token

    def signed_in(self, token: str) -> "Rest":
        return Rest(self.url, token, self._tls)

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Returns the answer, whatever its status; raises PlatformError when there is none."""
        sent = {"Accept": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, self._path + path, content, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, _json(answer.read()))
        except (OSError, HTTPException) as failure:
            why = getattr(failure, "strerror", None) or failure
            raise PlatformError(
                f"{self.url} does not answer: {why}", "is it running? mercato status"
            ) from None
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self._secure:
            return HTTPSConnection(self._host, timeout=TIMEOUT_S, context=self._tls)
        return HTTPConnection(self._host, timeout=TIMEOUT_S)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_float=Decimal)
    except ValueError:
        return None

"""A kept message as Mailpit's API describes one; nothing in it can make reading fail."""

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

SNIPPET_CHARACTERS = 200
NS_PER_S = 1_000_000_000


def summary(id: str, raw: bytes) -> dict[str, Any]:
    """One entry of a list: who, to whom, what about, and the first words."""
    message = _parse(raw)
    words = (_body(message, "plain") or _without_tags(_body(message, "html"))).split()
    return {
        **_head(id, message),
        "Created": arrival(id).isoformat(),
        "Read": True,
        "Size": len(raw),
        "Tags": [],
        "Attachments": sum(1 for _ in message.iter_attachments()),
        "Snippet": " ".join(words)[:SNIPPET_CHARACTERS],
    }


def full(id: str, raw: bytes) -> dict[str, Any]:
    """The whole message with both its bodies; attachments are kept but not served."""
    message = _parse(raw)
    return {
        **_head(id, message),
        "Date": _date(message, arrival(id)).isoformat(),
        "ReturnPath": _text(message, "Return-Path").strip("<>"),
        "Size": len(raw),
        "Tags": [],
        "Inline": [],
        "Attachments": [],
        "Text": _body(message, "plain"),
        "HTML": _body(message, "html"),
    }


def arrival(id: str) -> datetime:
    """When a message came, which its id tells."""
    return datetime.fromtimestamp(int(id.partition("-")[0]) / NS_PER_S, UTC)


def _parse(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=default)


def _head(id: str, message: EmailMessage) -> dict[str, Any]:
    senders = _addresses(message, "From")
    return {
        "ID": id,
        "MessageID": _text(message, "Message-ID").strip().strip("<>"),
        "From": senders[0] if senders else {"Name": "", "Address": ""},
        "To": _addresses(message, "To"),
        "Cc": _addresses(message, "Cc"),
        "Bcc": _addresses(message, "Bcc"),
        "ReplyTo": _addresses(message, "Reply-To"),
        "Subject": _text(message, "Subject"),
    }


def _text(message: EmailMessage, name: str) -> str:
    """The decoded field, read past the strict header parser, which some broken fields crash."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    octets = str(raw).encode("utf-8", "surrogateescape")  # 8-bit fields come as surrogates
    unfolded = re.sub(r"\r?\n", "", octets.decode("utf-8", "replace"))
    try:
        return _encodable(str(make_header(decode_header(unfolded))))
    except (HeaderParseError, LookupError, UnicodeError):
        return unfolded


def _addresses(message: EmailMessage, name: str) -> list[dict[str, str]]:
    pairs = getaddresses([_text(message, name)])
    return [{"Name": who, "Address": address} for who, address in pairs if address]


def _date(message: EmailMessage, otherwise: datetime) -> datetime:
    try:
        return parsedate_to_datetime(_text(message, "Date"))
    except (ValueError, TypeError, OverflowError):  # the last of a year or a zone of many digits
        return otherwise


def _body(message: EmailMessage, kind: str) -> str:
    try:
        part = message.get_body((kind,))
        return _encodable(str(part.get_content())) if part else ""
    except (LookupError, UnicodeError, ValueError, AttributeError):
        return ""


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()  # some charsets decode to lone surrogates


def _without_tags(html: str) -> str:
    return re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL | re.I)

"""The mailbox: what it accepted it keeps, it speaks Mailpit's shape, and no mail can harm it."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from email.message import EmailMessage
from pathlib import Path
from threading import Event
from typing import Any

import aiosmtplib
import pytest

from mercato.embedded.mailbox import smtp, web
from mercato.embedded.mailbox.store import Store
from mercato.embedded.mailbox.web import Web
from mercato.embedded.ports import LOOPBACK, any_free


def letter(to: str = "ada@example.com", message_id: str = "<1@mercato>") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "Shop <shop@example.com>", f"Ada <{to}>"
    message["Subject"], message["Message-ID"] = "Grüße", message_id
    message.set_content("Your order is on its way.\n")
    message.add_alternative("<p>Your order <script>alert(1)</script></p>", subtype="html")
    return message


async def get(store: Store, path: str, query: str = "", method: str = "GET") -> tuple[int, Any]:
    status, _, body = await ask(store, path, query, method)
    return status, json.loads(body) if body.startswith(b"{") else body


async def ask(
    store: Store, path: str, query: str = "", method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """One request to the mailbox's pages, without a socket."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await Web(store)(
        {"type": "http", "method": method, "path": path, "query_string": query.encode()},
        receive,
        send,
    )
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
async def port(store: Store) -> AsyncIterator[int]:
    number = any_free()
    listener = await smtp.listen(store, LOOPBACK, number)
    yield number
    listener.close()
    await listener.wait_closed()


async def test_a_sent_mail_is_found_by_its_message_id(store: Store, port: int) -> None:
    await aiosmtplib.send(letter(message_id="<7@mercato>"), hostname=LOOPBACK, port=port)
    await aiosmtplib.send(letter(message_id="<8@mercato>"), hostname=LOOPBACK, port=port)
    status, found = await get(store, "/api/v1/search", "query=message-id:7@mercato")
    assert status == 200
    assert (found["total"], found["messages_count"]) == (2, 1)
    (mail,) = found["messages"]
    assert mail["MessageID"] == "7@mercato"
    assert mail["From"] == {"Name": "Shop", "Address": "shop@example.com"}
    assert mail["To"] == [{"Name": "Ada", "Address": "ada@example.com"}]
    assert mail["Subject"] == "Grüße"
    assert mail["Snippet"] == "Your order is on its way."
    assert (await get(store, "/api/v1/search", "query=message-id:9@mercato"))[1]["messages"] == []


async def test_a_mail_is_found_by_whom_it_is_for(store: Store, port: int) -> None:
    for to in ("ada@example.com", "bob@example.com"):
        await aiosmtplib.send(letter(to), hostname=LOOPBACK, port=port)
    _, found = await get(store, "/api/v1/search", 'query=to:"BOB@example.com"')
    assert [mail["To"][0]["Address"] for mail in found["messages"]] == ["bob@example.com"]


async def test_a_hidden_recipient_is_found_too(store: Store, port: int) -> None:
    recipients = ["ada@example.com", "hidden@example.com"]
    await aiosmtplib.send(letter(), recipients=recipients, hostname=LOOPBACK, port=port)
    _, found = await get(store, "/api/v1/search", "query=to:hidden@example.com")
    assert found["messages_count"] == 1


async def test_accepted_mail_survives_a_restart(store: Store, tmp_path: Path) -> None:
    id = store.add(letter().as_bytes(), "shop@example.com", ["ada@example.com"])
    (tmp_path / "half.new").write_bytes(b"From: cut off by a power fail")
    again = Store(tmp_path)
    assert len(again) == 1
    assert again.read(id) == store.read(id)
    assert len(os.listdir(tmp_path)) == 1
    assert (await get(again, "/api/v1/search", "query=message-id:1@mercato"))[1]["messages_count"]


async def test_mail_that_cannot_be_kept_is_not_accepted(
    store: Store, port: int, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path)
    with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
        await aiosmtplib.send(letter(), hostname=LOOPBACK, port=port)
    assert refusal.value.code == 451


async def test_a_hundred_mails_at_once_are_all_kept(store: Store, port: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            mail = letter(message_id=f"<{number}@mercato>")
            group.create_task(aiosmtplib.send(mail, hostname=LOOPBACK, port=port, timeout=30))
    _, first = await get(store, "/api/v1/messages", "limit=60")
    _, rest = await get(store, "/api/v1/messages", "limit=60&start=60")
    ids = {mail["MessageID"] for mail in first["messages"] + rest["messages"]}
    assert ids == {f"{number}@mercato" for number in range(100)}


async def test_a_message_shows_both_its_bodies(store: Store) -> None:
    id = store.add(letter().as_bytes(), "shop@example.com", ["ada@example.com"])
    for name in (id, "latest"):
        _, mail = await get(store, f"/api/v1/message/{name}")
        assert mail["Text"].strip() == "Your order is on its way."
        assert "<p>Your order" in mail["HTML"]
        assert mail["ReturnPath"] == "shop@example.com"
    assert (await get(store, "/api/v1/message/none"))[0] == 404


async def test_a_mails_html_can_neither_run_nor_call_home(store: Store) -> None:
    id = store.add(letter().as_bytes(), "shop@example.com", ["ada@example.com"])
    _, headers, body = await ask(store, f"/view/{id}.html")
    assert b"<script>" in body  # as it came: it is the policy that disarms it
    policy = headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert b"alert(1)" not in (await ask(store, f"/view/{id}"))[2]


async def test_a_subject_cannot_write_into_the_pages(store: Store) -> None:
    mail = letter()
    mail.replace_header("Subject", "<img src=x onerror=alert(1)>")
    id = store.add(mail.as_bytes(), "shop@example.com", ["ada@example.com"])
    for path in ("/", f"/view/{id}"):
        status, _, body = await ask(store, path)
        assert status == 200
        assert b"<img" not in body


BROKEN = (
    b"",
    b"no header at all",
    b"Subject: =?utf-99?b?////?=\r\nTo: ,,<@>;\r\nMessage-ID: <<>\r\n\r\nx",
    b"Content-Type: multipart/mixed\r\n\r\n--\r\n",
    b"Content-Type: text/html; charset=klingon\r\nDate: yesterday\r\n\r\n\xff\xfe",
    b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n%%%",
    b"From: \xff\xfe\r\nSubject: \xc3\x28\r\n\r\n\x00",
    b"Date: 1 Jan 99999999999999999999 00:00:00 +0000\r\n\r\n",
    b"Date: 1 Jan 2026 00:00:00 +99999999999999999999\r\n\r\n",
    b"Subject: =?utf-7?q?+2AA-?=\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+2AA-",
)


@pytest.mark.parametrize("content", BROKEN)
async def test_a_broken_mail_does_not_hide_the_others(
    store: Store, tmp_path: Path, content: bytes
) -> None:
    store.add(letter().as_bytes(), "shop@example.com", ["ada@example.com"])
    broken = store.add(content, "", ["ada@example.com"])
    _, listed = await get(Store(tmp_path), "/api/v1/messages")
    assert len(listed["messages"]) == 2
    for path in ("/", f"/view/{broken}", f"/view/{broken}.html", f"/api/v1/message/{broken}"):
        assert (await ask(store, path))[0] == 200


@pytest.mark.parametrize("name", ["start", "limit"])
async def test_a_number_of_any_length_is_answered(store: Store, name: str) -> None:
    for path in ("/", "/api/v1/messages"):
        assert (await ask(store, path, f"{name}={'9' * 5000}"))[0] == 200


async def test_a_long_list_holds_up_no_probe(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(letter().as_bytes(), "shop@example.com", ["ada@example.com"])
    asked, probed = Event(), Event()

    def slow(id: str, raw: bytes) -> dict[str, Any]:
        asked.set()
        assert probed.wait(5), "the probe was answered meanwhile"
        return {}

    monkeypatch.setattr(web, "summary", slow)
    async with asyncio.TaskGroup() as group:
        listing = group.create_task(ask(store, "/api/v1/messages"))
        await asyncio.to_thread(asked.wait)
        assert (await ask(store, "/readyz"))[0] == 200
        probed.set()
    assert listing.result()[0] == 200


async def test_a_mail_that_is_deleted_while_it_is_read_is_none(
    store: Store, tmp_path: Path
) -> None:
    id = store.add(letter().as_bytes(), "shop@example.com", ["ada@example.com"])
    (tmp_path / f"{id}.eml").unlink()
    assert store.read(id) is None
    assert (await get(store, "/api/v1/messages"))[1]["messages"] == []


async def test_deleting_all_leaves_none(store: Store, tmp_path: Path) -> None:
    store.add(letter().as_bytes(), "shop@example.com", ["ada@example.com"])
    assert (await ask(store, "/api/v1/messages", method="DELETE"))[0] == 200
    assert len(store) == len(Store(tmp_path)) == 0


async def test_nothing_outside_the_folder_can_be_read(store: Store) -> None:
    paths: Sequence[str] = ("/api/v1/message/..%2fx", "/view/../../etc/passwd", "/view/a.b")
    assert [(await ask(store, path))[0] for path in paths] == [404, 404, 404]

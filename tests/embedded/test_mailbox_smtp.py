"""The mailbox's SMTP: what it answers to, in which order, and what it will not take."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mercato.embedded.mailbox import smtp
from mercato.embedded.mailbox.store import Message, Store
from mercato.embedded.ports import LOOPBACK

GREETED = b"EHLO test\r\n"
ADDRESSED = GREETED + b"MAIL FROM:<shop@a.example>\r\nRCPT TO:<ada@a.example>\r\n"
HEAD = b"Subject: hello\r\n\r\n"


class Client:
    """Says what it is told to, and hears one whole answer after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def hear(self, count: int = 1) -> list[str]:
        """The first line of each of the next answers."""
        answers = []
        async with asyncio.timeout(5):
            for _ in range(count):
                lines = [(await self._reader.readline()).decode()]
                while lines[-1][3:4] == "-":
                    lines.append((await self._reader.readline()).decode())
                answers.append("".join(lines))
        return answers

    async def say(self, octets: bytes, count: int = 1) -> list[str]:
        """The codes of the answers to it."""
        self.writer.write(octets)
        return [answer[:3] for answer in await self.hear(count)]

    async def over(self) -> bool:
        async with asyncio.timeout(5):
            return await self._reader.read() == b""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    listener = await smtp.listen(store, LOOPBACK, 0)
    client = Client(*await asyncio.open_connection(LOOPBACK, listener.sockets[0].getsockname()[1]))
    assert (await client.hear())[0].startswith("220 ")
    yield client
    client.writer.close()
    listener.close()


def kept(store: Store) -> list[bytes]:
    """The messages without their envelopes, in the order in which they came."""
    found = [store.read(entry.id) or b"" for entry in reversed(store.newest_first())]
    return [octets[octets.index(b"Subject:") :] for octets in found]


async def test_a_dialogue_one_command_after_the_other(client: Client, store: Store) -> None:
    client.writer.write(b"EHLO test\r\n")
    (hello,) = await client.hear()
    assert {line[4:].split()[0] for line in hello.splitlines()[1:]} == {
        *("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8")
    }
    assert await client.say(b"mail from:<Shop@a.example> size=100 body=8bitmime\r\n") == ["250"]
    assert await client.say(b"RCPT TO: <ada@a.example>\r\n") == ["250"]
    assert await client.say("RCPT TO:<grüße@a.example>\r\n".encode()) == ["250"]
    assert await client.say(b"DATA\r\n") == ["354"]
    assert await client.say(HEAD + b"text\r\n.\r\n") == ["250"]
    (entry,) = store.newest_first()
    assert "ada@a.example" in entry.recipients
    octets = (store.read(entry.id) or b"").decode()
    assert octets.startswith("Return-Path: <Shop@a.example>\r\nDelivered-To: ada@a.example\r\n")
    assert "\r\nDelivered-To: grüße@a.example\r\n" in octets
    assert await client.say(b"QUIT\r\n") == ["221"]
    assert await client.over()


async def test_commands_in_one_piece_are_answered_in_their_order(
    client: Client, store: Store
) -> None:
    assert await client.say(ADDRESSED + b"DATA\r\n", 4) == ["250", "250", "250", "354"]
    next_one = ADDRESSED.removeprefix(GREETED) + b"DATA\r\n"
    assert await client.say(HEAD + b"1\r\n.\r\n" + next_one, 4) == ["250", "250", "250", "354"]
    assert await client.say(HEAD + b"2\r\n.\r\nNOOP\r\nQUIT\r\nNOOP\r\n", 3) == [
        "250",
        "250",
        "221",
    ]
    assert await client.over()
    assert kept(store) == [HEAD + b"1\r\n", HEAD + b"2\r\n"]


async def test_bytes_may_come_one_by_one(client: Client, store: Store) -> None:
    everything = ADDRESSED + b"DATA\r\n" + HEAD + b".\r\r\n\n.\r\n\r\n..\r\n.\r\nQUIT\r\n"
    for octet in everything:
        client.writer.write(bytes([octet]))
        await asyncio.sleep(0)
    codes = [answer[:3] for answer in await client.hear(6)]
    assert codes == ["250", "250", "250", "354", "250", "221"]
    assert kept(store) == [HEAD + b"\r\r\n\n.\r\n\r\n.\r\n"]


@pytest.mark.parametrize(
    ("sent", "there"),
    [
        (b"..\r\n...\r\n.x\r\n", b".\r\n..\r\nx\r\n"),
        (b"a\n.\nb\r.\rc\r\n.\nd\r\n", b"a\n.\nb\r.\rc\r\n\nd\r\n"),
        (b"", b""),
    ],
)
async def test_dots_are_taken_off_and_only_one_between_two_line_ends_ends_a_message(
    client: Client, store: Store, sent: bytes, there: bytes
) -> None:
    await client.say(ADDRESSED + b"DATA\r\n", 4)
    assert await client.say(HEAD + sent + b".\r\n") == ["250"]
    assert kept(store) == [HEAD + there]


async def test_a_message_may_be_empty(client: Client, store: Store) -> None:
    assert await client.say(ADDRESSED + b"DATA\r\n.\r\n", 5) == ["250", "250", "250", "354", "250"]
    assert len(store) == 1


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        (b"MAIL FROM:<a@b.example>\r\n", ["503"]),
        (b"DATA\r\nRCPT TO:<a@b.example>\r\nRSET\r\nNOOP\r\n", ["503", "503", "250", "250"]),
        (b"EHLO\r\nHELO\r\nHELO me\r\nVRFY ada\r\n", ["501", "501", "250", "252"]),
        (ADDRESSED + b"MAIL FROM:<a@b.example>\r\n", ["250", "250", "250", "503"]),
        (ADDRESSED + b"RSET\r\nDATA\r\n", ["250", "250", "250", "250", "503"]),
        (ADDRESSED + b"EHLO again\r\nDATA\r\n", ["250", "250", "250", "250", "503"]),
        (GREETED + b"MAIL a@b.example\r\nMAIL FROM:<>\r\n", ["250", "501", "250"]),
        (GREETED + b"MAIL FROM:<>\r\nRCPT TO:<>\r\nDATA\r\n", ["250", "250", "501", "503"]),
        (GREETED + b"MAIL FROM:<> SIZE=99999999999\r\n", ["250", "552"]),
        (GREETED + b"MAIL FROM:<> RET=FULL\r\n", ["250", "555"]),
        (b"\r\nSTARTTLS\r\nEXPN\r\n\xff\xfe\r\n", ["500", "500", "500", "500"]),
        (b"NOOP " + b"x" * 5_000 + b"\r\nNOOP\r\n", ["500", "250"]),
    ],
)
async def test_what_comes_at_the_wrong_time_or_in_the_wrong_way_is_refused(
    client: Client, store: Store, said: bytes, codes: list[str]
) -> None:
    assert await client.say(said, len(codes)) == codes
    assert len(store) == 0


async def test_an_endless_command_is_not_kept_in_memory(client: Client) -> None:
    for _ in range(50):
        client.writer.write(b"x" * 10_000)
        await asyncio.sleep(0)
    assert await client.say(b"\r\nNOOP\r\n", 2) == ["500", "250"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"x" * 998 + b"\r\n", "250"),
        (b"x" * 999 + b"\r\n", "500"),
        (b"x" * 78 + b"\r\n", "250"),
    ],
)
async def test_a_line_of_a_message_has_its_limit(
    client: Client, store: Store, text: bytes, code: str
) -> None:
    await client.say(ADDRESSED + b"DATA\r\n", 4)
    assert await client.say(HEAD + text + b".\r\n") == [code]
    assert len(store) == (code == "250")


async def test_a_message_has_its_limit_and_the_next_one_is_taken(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "MESSAGE_BYTES_MAX", 100_000)
    addressed = ADDRESSED.removeprefix(GREETED) + b"DATA\r\n"
    await client.say(GREETED + addressed, 4)
    assert await client.say(HEAD + b"too much\r\n" * 20_000 + b".\r\n") == ["552"]
    assert await client.say(addressed, 3) == ["250", "250", "354"]
    assert await client.say(HEAD + b"enough\r\n" * 9_000 + b".\r\n") == ["250"]
    assert len(store) == 1


async def test_who_says_nothing_is_sent_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "IDLE_TIMEOUT_S", 0.05)
    listener = await smtp.listen(store, LOOPBACK, 0)
    port = listener.sockets[0].getsockname()[1]
    client = Client(*await asyncio.open_connection(LOOPBACK, port))
    assert [answer[:3] for answer in await client.hear(2)] == ["220", "421"]
    assert await client.over()
    client.writer.close()
    listener.close()


def test_of_several_messages_each_has_its_own_id(store: Store, tmp_path: Path) -> None:
    message = Message(HEAD, "a@b.example", ["c@d.example"])
    told = store.add_all([message] * 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{id}.eml" for id in told)
    assert kept(Store(tmp_path)) == [HEAD] * 3

"""What a platform has kept, read once the storm is over: its database, and its mails on disk."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from mercato.platform.mongo import Document
from mercato.storm.observer import OUTBOXES

HEAD_BYTES: Final = 8_192
_MESSAGE_ID: Final = re.compile(rb"^Message-ID:\s*<?([^>\s]+)>?\s*$", re.IGNORECASE | re.MULTILINE)
_TO: Final = re.compile(rb"^Delivered-To:\s*(\S+)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the order service keeps it."""

    id: str
    user_id: str
    key: str
    lines: Mapping[str, int]
    total: int
    status: str
    stock: str
    reserved: bool  # its history says that its stock was held at some time

    @property
    def settled(self) -> bool:
        return self.status in ("COMPLETED", "CANCELLED") or self.stock == "RESERVED"

    @property
    def takes(self) -> bool:
        """Whether its units are gone from the shelf."""
        return self.status == "COMPLETED" or (self.status, self.stock) == ("PENDING", "RESERVED")


@dataclass(frozen=True, slots=True)
class Reservation:
    """What inventory holds for an order."""

    state: str
    lines: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Move:
    """A row of the stock ledger; `by` names the order or the person."""

    product_id: str
    delta: int
    cause: str
    by: str


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that the verdict is made from."""

    orders: Mapping[str, Order]
    reservations: Mapping[str, Reservation]
    moves: Sequence[Move]
    stock: Mapping[str, int]
    mails: Mapping[str, str]  # the mailer's queue: state by Message-ID
    delivered: Counter[str]  # the mailbox: how often it has each Message-ID
    recipients: Mapping[str, str]  # whom each was delivered to
    dead_letters: int
    told_again: int = 0  # facts and mails: beyond once each, by their outbox rows


async def read(database: AsyncDatabase[Document], mailbox: Path) -> Records:
    """Reads it all; `mailbox` is the folder with the messages. Raises PyMongoError, OSError."""
    orders = {str(o["_id"]): _order(o) async for o in database.orders.find()}
    reservations = {str(r["_id"]): _reservation(r) async for r in database.reservations.find()}
    moves = [_move(m) async for m in database.stock_ledger.find()]
    stock = {str(p["_id"]): int(p["stock"]) async for p in database.products.find()}
    mails = {m["message_id"]: m["state"] async for m in database.mails.find()}
    delivered, recipients = _messages(mailbox)
    dead = await database.dead_letters.count_documents({})
    again = sum([await _told_again(database[name]) for name in OUTBOXES])
    return Records(orders, reservations, moves, stock, mails, delivered, recipients, dead, again)


async def _told_again(rows: AsyncCollection[Document]) -> int:
    """How many emissions there were beyond the first of each row."""
    beyond = {"$max": [{"$subtract": ["$emission", 1]}, 0]}
    sums = {"$group": {"_id": None, "again": {"$sum": beyond}}}
    found = await (await rows.aggregate([sums])).to_list()
    return sum(each["again"] for each in found)


def _messages(mailbox: Path) -> tuple[Counter[str], dict[str, str]]:
    delivered: Counter[str] = Counter()
    recipients: dict[str, str] = {}
    for path in mailbox.glob("*.eml"):
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n")
        found, to = _MESSAGE_ID.search(head), _TO.search(head)
        message_id = found[1].decode() if found else path.name
        delivered[message_id] += 1
        recipients[message_id] = to[1].decode() if to else ""
    return delivered, recipients


def _lines(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {str(item["product_id"]): int(item["quantity"]) for item in items}


def _order(document: Document) -> Order:
    return Order(
        id=str(document["_id"]),
        user_id=str(document["user_id"]),
        key=document.get("idempotency_key", ""),
        lines=_lines(document["items"]),
        total=int(document["total"]),
        status=document["status"],
        stock=document["stock"],
        reserved=any(entry["action"] == "stock reserved" for entry in document["history"]),
    )


def _reservation(document: Document) -> Reservation:
    return Reservation(document["state"], _lines(document["items"]))


def _move(document: Document) -> Move:
    return Move(
        str(document["product_id"]), int(document["delta"]), document["cause"], document["by"]
    )

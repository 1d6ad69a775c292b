"""A client repeats what was not answered under the same key, and notes what it was told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mercato.embedded.ports import LOOPBACK
from mercato.storm.book import Book, Customer, Product
from mercato.storm.clients import Clients

ADMIN = Customer("staff1", "admin@shop.example", "", "token of staff")
ANN = Customer("user1", "ann@shop.example", "", "token of ann")
REFUSED = (503, b"{}", b"Retry-After: 0\r\n")

Answer = tuple[int, bytes, bytes]  # status, body, further header lines


class Shop:
    """Answers orders as `answers` says (None: not at all, the connection is closed)."""

    def __init__(self, answers: Callable[[int, bytes], Answer | None]) -> None:
        self._answers = answers
        self.keys: list[str] = []
        self.tokens: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await self._head(reader):
            body = await reader.readexactly(int(head["content-length"]))
            self.keys.append(head.get("idempotency-key", ""))
            self.tokens.add(head["authorization"])
            answer = self._answers(len(self.keys), body)
            if answer is None:
                break
            status, content, more = answer
            length = f"Content-Length: {len(content)}\r\n".encode()
            writer.write(f"HTTP/1.1 {status} X\r\n".encode() + more + length + b"\r\n" + content)
        writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> dict[str, str]:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except EOFError:
            return {}
        pairs = (line.partition(": ") for line in head.split("\r\n")[1:])
        return {name.lower(): value for name, _, value in pairs}


def placed(body: bytes, order_id: str = "order1", price: float = 2.5) -> Answer:
    items = json.loads(body)["items"]
    total = sum(item["quantity"] for item in items) * price
    return 201, json.dumps({"id": order_id, "items": items, "total": total}).encode(), b""


@asynccontextmanager
async def ordering(shop: Shop, seed: int = 1) -> AsyncIterator[Book]:
    """One client that places one order."""
    server = await asyncio.start_server(shop.serve, LOOPBACK, 0)
    book = Book([ADMIN], customers=[ANN], hot="p0")
    book.products = {f"p{n}": Product(f"p{n}", 250, 10) for n in range(6)}
    port = server.sockets[0].getsockname()[1]
    clients = Clients(book, port, orders=1, spread_s=0.01, count=1, seed=seed)
    await asyncio.wait_for(clients.run(), 10)
    yield book
    server.close()


async def test_a_request_without_an_answer_is_repeated_under_its_key() -> None:
    shop = Shop(lambda n, body: (None, REFUSED, placed(body))[min(n, 3) - 1])
    async with ordering(shop) as book:
        (order,) = book.orders.values()
        assert shop.keys == [order.key] * 3
        assert (order.order_id, order.tries) == ("order1", 3)
        assert shop.tokens == {"Bearer token of ann"}
        assert book.failures == {"connection cut": 1}
        assert book.statuses == {503: 1, 201: 1}
        assert book.contradictions == []


async def test_a_500_is_repeated_and_kept_for_the_verdict() -> None:
    shop = Shop(lambda n, body: (500, b"{}", b"") if n == 1 else placed(body))
    async with ordering(shop) as book:
        assert book.statuses == {500: 1, 201: 1}


async def test_a_wrong_total_and_a_refusal_are_contradictions() -> None:
    async with ordering(Shop(lambda n, body: placed(body, price=2.49))) as book:
        assert book.contradictions == ["order order1 is not what was ordered"]
    async with ordering(Shop(lambda n, body: (422, b"{}", b""))) as book:
        assert len(book.contradictions) == 1
        assert book.acknowledged() == []

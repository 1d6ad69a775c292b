"""Puts a file's products into the catalogue: in batches, several at once, each product once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc

from mercato.cli.product_file import Line
from mercato.cli.shop import Shop
from mercato.pb.inventory_pb2 import BatchUpsertProductsRequest, UpsertProductResult
from mercato.pb.inventory_pb2_grpc import InventoryServiceStub
from mercato.platform.rpc import refusal_of
from mercato.platform.rpc.refusals import Refused

BATCH_PRODUCTS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 900_000  # a message has 1 MiB
BATCHES_IN_FLIGHT: Final = 4
CALL_DEADLINE_S: Final = 10.0
RETRY_FOR_S: Final = 15.0
RETRY_DELAY_S: Final = 0.5

_PASSING: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,  # somebody else added one of the skus meanwhile
)

# Says what became of each line; None: nothing was tried.
Put = Callable[[Sequence[Line]], Awaitable[Sequence[UpsertProductResult | None]]]


@dataclass(slots=True)
class Tally:
    """What became of a file's lines; `differing` are those of `repeated` that say other things."""

    lines: int = 0
    products: int = 0
    created: int = 0
    updated: int = 0
    repeated: int = 0
    differing: int = 0
    bad: int = 0


class Upload:
    """Of several good lines with one sku the first counts; the others are counted as repeated."""

    def __init__(self, refuse: Callable[[Line], None], tell: Callable[[Tally], None]) -> None:
        """`refuse` gets each bad line with its reason, `tell` hears of the progress."""
        self.tally = Tally()
        self._refuse = refuse
        self._tell = tell
        self._seen: dict[str, int] = {}  # each sku with the hash of what was said of it

    async def run(self, lines: Iterable[Line], put: Put) -> Tally:
        """Returns when every line has been put; raises Refused when the inventory stays away."""
        slots = asyncio.Semaphore(BATCHES_IN_FLIGHT)

        async def send(batch: Sequence[Line]) -> None:
            try:
                for line, result in zip(batch, await put(batch), strict=True):
                    self._settle(line, result)
                self._tell(self.tally)
            finally:
                slots.release()

        try:
            async with asyncio.TaskGroup() as group:
                for batch in self._batches(lines):
                    await slots.acquire()
                    group.create_task(send(batch))
                    await asyncio.sleep(0)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return self.tally

    def _batches(self, lines: Iterable[Line]) -> Iterator[list[Line]]:
        batch: list[Line] = []
        size = 0
        for line in self._fresh(lines):
            bytes_ = line.product.ByteSize() + 8 if line.product else 0
            if len(batch) == BATCH_PRODUCTS_MAX or size + bytes_ > BATCH_BYTES_MAX:
                yield batch
                batch, size = [], 0
            batch.append(line)
            size += bytes_
        if batch:
            yield batch

    def _fresh(self, lines: Iterable[Line]) -> Iterator[Line]:
        """The lines with a product that no line before them had."""
        for line in lines:
            self.tally.lines += 1
            if line.product is None:
                self.tally.bad += 1
                self._refuse(line)
                continue
            said = hash(line.product.SerializeToString(deterministic=True))
            before = self._seen.setdefault(line.product.sku, said)
            if len(self._seen) > self.tally.products:
                self.tally.products += 1
                yield line
            else:
                self.tally.repeated += 1
                self.tally.differing += before != said

    def _settle(self, line: Line, result: UpsertProductResult | None) -> None:
        if result is None:
            return
        if result.HasField("error"):
            refusal = refusal_of(result.error)
            reasons = [f"{each.field}: {each.detail}" for each in refusal.violations]
            self.tally.bad += 1
            self._refuse(Line(line.number, line.cells, None, "; ".join(reasons) or refusal.detail))
        elif result.created:
            self.tally.created += 1
        else:
            self.tally.updated += 1


async def upload(shop: Shop, run: Upload, lines: Iterable[Line]) -> Tally:
    """Runs `run` into the catalogue of `shop`; raises Refused."""
    channels = shop.channels()
    async with channels.open(shop.inventory_service, "inventory") as channel:
        stub = InventoryServiceStub(channel)
        call = partial(channels.call, stub.BatchUpsertProducts, deadline_s=CALL_DEADLINE_S)

        async def put(batch: Sequence[Line]) -> Sequence[UpsertProductResult]:
            request = BatchUpsertProductsRequest(
                products=[line.product for line in batch if line.product]
            )
            give_up_at = time.monotonic() + RETRY_FOR_S
            while True:
                try:
                    return (await call(request)).results
                except Refused as refusal:
                    if refusal.code not in _PASSING or time.monotonic() > give_up_at:
                        raise
                await asyncio.sleep(RETRY_DELAY_S)

        return await run.run(lines, put)


async def pretend(batch: Sequence[Line]) -> Sequence[None]:
    """Puts nothing anywhere: for --dry-run."""
    return [None] * len(batch)

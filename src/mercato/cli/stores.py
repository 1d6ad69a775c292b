"""How an operator's command reaches the database and the event stream themselves."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from mercato.cli.shop import CALLER
from mercato.embedded.errors import PlatformError
from mercato.platform.bus import Bus
from mercato.platform.mongo import Store
from mercato.platform.settings import StoreSettings

REACH_S: Final = 3.0
REMEDY: Final = "does it run? see: mercato status"


@asynccontextmanager
async def database(s: StoreSettings) -> AsyncIterator[Store]:
    """Opens the platform's database; raises PlatformError when it fails."""
    try:
        async with Store.open(s.mongo_uri, s.mongo_db_name) as store:
            yield store
    except PyMongoError as failure:
        told = str(failure).partition(",")[0]
        raise PlatformError(f"the database fails: {told}", REMEDY) from failure


@asynccontextmanager
async def stream(s: StoreSettings) -> AsyncIterator[Bus]:
    """Opens the event stream; raises PlatformError when it cannot be reached."""
    # standard output is for the answer
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("error"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    async with Bus.open(s.nats_url, CALLER) as bus:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REACH_S):
                await bus.until_connected()
        if not await bus.ensure_stream():
            raise PlatformError("the event stream cannot be reached", REMEDY)
        yield bus

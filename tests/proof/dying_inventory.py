"""The inventory service, but each of its lives ends right after its first commit of stock.

Between commit and acknowledgement is where a message is delivered again although it was applied.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from mercato.events import OrderFact
from mercato.inventory import main as service
from mercato.inventory.model import Unfit
from mercato.inventory.repository import MongoStock


class DyingStock(MongoStock):
    """T2 as it is, and then SIGKILL."""

    async def settle(self, facts: Sequence[OrderFact | Unfit]) -> None:
        await super().settle(facts)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    setattr(service, "MongoStock", DyingStock)  # noqa: B010 - it is main.py that it must be put into
    asyncio.run(service.main())

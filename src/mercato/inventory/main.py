"""The inventory service, put together."""

from functools import partial

from mercato.inventory.handler import ALLOWED, InventoryHandler, OrderListener
from mercato.inventory.repository import SHAPES, MongoProducts, MongoStock, check_currency
from mercato.inventory.settings import InventorySettings
from mercato.inventory.usecase import Catalogue, Warehouse
from mercato.kernel.clock import now
from mercato.pb import inventory_pb2
from mercato.pb.inventory_pb2_grpc import add_InventoryServiceServicer_to_server
from mercato.platform import dead_letters, telemetry
from mercato.platform.bus import Bus, Consumer
from mercato.platform.cache import Cache
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.mongo import Store
from mercato.platform.outbox import Outbox
from mercato.platform.relay import Relay, to_bus
from mercato.platform.rpc import Identity, Server
from mercato.platform.run import run, until_ready
from mercato.platform.settings import load
from mercato.platform.tokens import Tokens

NAME = "inventory"


async def main() -> None:
    """Serves until SIGTERM or SIGINT; then finishes what it began."""
    s = load(InventorySettings)
    telemetry.start(NAME, level=s.log_level, host=s.host, metrics_port=s.metrics_port)
    tokens, identity = Tokens.of(s), Identity.of(s)
    async with (
        Store.open(s.mongo_uri, s.mongo_db_name) as store,
        Cache.open(
            s.redis_addr, password=s.redis_password, database=s.redis_db, ttl_s=s.cache_ttl_s
        ) as cache,
        Bus.open(s.nats_url, NAME) as bus,
    ):
        await until_ready(
            "mongo", lambda: store.ensure(SHAPES | {"dead_letters": dead_letters.SHAPE})
        )
        await until_ready("mongo", partial(check_currency, store, s.currency))
        outbox = Outbox(store["inventory_outbox"])
        catalogue = Catalogue(MongoProducts(store, cache, outbox), now)
        warehouse = Warehouse(MongoStock(store, cache, outbox))
        dead = DeadLetters(store["dead_letters"], NAME)
        listener = OrderListener(warehouse, dead)
        service = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]
        server = Server([service], tokens, ALLOWED, identity)
        add_InventoryServiceServicer_to_server(
            InventoryHandler(catalogue, warehouse, s.currency), server.grpc
        )
        async with server.listen(s.host, s.port):
            await run(
                Relay(outbox, cache, name=NAME, kind="nats", dispatch=to_bus(bus)).run(),
                Relay(outbox, cache, name=NAME, kind="news", dispatch=to_bus(bus)).run(),
                Consumer(bus, NAME, OrderListener.SUBJECTS, listener, dead.keep).run(),
                name=NAME,
            )

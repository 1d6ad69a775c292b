"""The order service, put together."""

from mercato.events import ProductChanged
from mercato.kernel.clock import now
from mercato.order.expiry import Expiry, expiring
from mercato.order.handler import ALLOWED, OrderHandler, StockListener
from mercato.order.peers import InventoryCatalogue, Post
from mercato.order.reconciler import Reconciler
from mercato.order.repository import SHAPES, MongoOrders
from mercato.order.settings import OrderSettings
from mercato.order.usecase import Ordering
from mercato.pb import order_pb2
from mercato.pb.inventory_pb2_grpc import InventoryServiceStub
from mercato.pb.mailer_pb2_grpc import MailerServiceStub
from mercato.pb.order_pb2_grpc import add_OrderServiceServicer_to_server
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform import dead_letters, telemetry
from mercato.platform.bus import Bus, Consumer
from mercato.platform.cache import Cache
from mercato.platform.dead_letters import DeadLetters
from mercato.platform.mongo import Store
from mercato.platform.relay import Relay, to_bus
from mercato.platform.rpc import Channels, Identity, Server
from mercato.platform.run import run, until_ready
from mercato.platform.settings import load
from mercato.platform.tokens import Tokens

NAME = "order"


async def main() -> None:
    """Serves until SIGTERM or SIGINT; then finishes what it began."""
    s = load(OrderSettings)
    telemetry.start(NAME, level=s.log_level, host=s.host, metrics_port=s.metrics_port)
    tokens = Tokens.of(s)
    identity = Identity.of(s)
    channels = Channels(tokens, NAME, identity)
    async with (
        Store.open(s.mongo_uri, s.mongo_db_name) as store,
        Cache.open(
            s.redis_addr, password=s.redis_password, database=s.redis_db, ttl_s=s.cache_ttl_s
        ) as cache,
        Bus.open(s.nats_url, NAME) as bus,
        channels.open(s.inventory_service, "inventory") as inventory_channel,
        channels.open(s.user_service, "user") as user_channel,
        channels.open(s.mailer_service, "mailer") as mailer_channel,
    ):
        shapes = SHAPES | {"dead_letters": dead_letters.SHAPE}
        shapes |= {"orders": expiring(SHAPES["orders"])} if s.order_hold_s else {}
        await until_ready("mongo", lambda: store.ensure(shapes))
        inventory = InventoryServiceStub(inventory_channel)
        catalogue = InventoryCatalogue(inventory, channels)
        orders = MongoOrders(store, cache)
        ordering = Ordering(orders, catalogue, now)
        post = Post(UserServiceStub(user_channel), MailerServiceStub(mailer_channel), channels)
        service = order_pb2.DESCRIPTOR.services_by_name["OrderService"]
        server = Server([service], tokens, ALLOWED, identity)
        add_OrderServiceServicer_to_server(OrderHandler(ordering, s.currency), server.grpc)
        async with server.listen(s.host, s.port):
            await run(
                Relay(orders.outbox, cache, name=NAME, kind="nats", dispatch=to_bus(bus)).run(),
                Relay(orders.outbox, cache, name=NAME, kind="mail", dispatch=post).run(),
                _consumer(bus, ordering, DeadLetters(store["dead_letters"], NAME)).run(),
                *([Expiry(ordering, s.order_hold_s).run()] if s.order_hold_s else []),
                Reconciler(orders.outbox, ordering, inventory, channels).run(),
                bus.watch(ProductChanged.subject, catalogue.changed),
                name=NAME,
            )


def _consumer(bus: Bus, ordering: Ordering, dead: DeadLetters) -> Consumer:
    listener = StockListener(ordering, dead)
    return Consumer(bus, NAME, StockListener.SUBJECTS, listener, dead.keep)

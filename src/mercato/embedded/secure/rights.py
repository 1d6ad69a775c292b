"""What each service may do at NATS and in MongoDB: tell its own facts, touch its own collections.

A new collection or subject of a service is to be named here, or secure mode refuses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mercato import events

OPERATOR: Final = "cli"  # the commands of who runs the shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a service has business with.

    Subjects that it publishes and those that it listens to as they come; whether it has a durable
    consumer of its name; whether Redis is for it; collections by what it may do in them.
    """

    tells: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    consumes: bool = False
    caches: bool = True
    owns: tuple[str, ...] = ()
    adds_to: tuple[str, ...] = ()  # what is in them stays as it is
    reads: tuple[str, ...] = ()


RIGHTS: Final[Mapping[str, Rights]] = {
    "gateway": Rights(hears=("product.changed", "stock.>")),
    "user": Rights(
        tells=("user.>",),
        owns=(
            "users", "user_outbox", "known_devices", "sessions", "oauth_clients", "oauth_codes",
            "oauth_logins", "oauth_consents", "oauth_links",
        ),
        adds_to=("security_events",),
    ),
    "inventory": Rights(
        tells=("stock.>", "product.>"),
        consumes=True,
        owns=("products", "reservations", "stock_ledger", "inventory_outbox", "dead_letters"),
    ),
    "order": Rights(
        tells=("order.>",),
        hears=("product.changed",),
        consumes=True,
        owns=("orders", "order_outbox", "dead_letters"),
    ),
    "mailer": Rights(caches=False, owns=("mails",)),
    "audit": Rights(
        caches=False,
        reads=(
            "users", "products", "orders", "reservations", "stock_ledger", "mails", "dead_letters",
            "user_outbox", "inventory_outbox", "order_outbox",
        )
    ),
}  # fmt: skip

_READ: Final = ("find", "listIndexes")
_SHAPE: Final = ("createCollection", "collMod", "createIndex")
_WRITE: Final = ("insert", "update", "remove", "dropIndex")


def nats_permissions(name: str) -> dict[str, Any]:
    """Returns what nats-server is to let this service publish and subscribe to.

    Of JetStream it may make the stream (not change or empty it), and make, pull from and
    acknowledge to a consumer of its own name.
    """
    if name == OPERATOR:
        return {"publish": ">", "subscribe": ">"}
    rights, publish = RIGHTS[name], list(RIGHTS[name].tells)
    if rights.tells or rights.consumes:
        publish.append(f"$JS.API.STREAM.CREATE.{events.STREAM}")
    if rights.consumes:
        publish += [
            f"$JS.API.CONSUMER.DURABLE.CREATE.{events.STREAM}.{name}",
            f"$JS.API.CONSUMER.MSG.NEXT.{events.STREAM}.{name}",
            f"$JS.ACK.{events.STREAM}.{name}.>",
        ]
    allowed: dict[str, Any] = {"allow": publish} if publish else {"deny": [">"]}
    return {"publish": allowed, "subscribe": {"allow": [f"_INBOX_{name}.>", *rights.hears]}}


def mongo_privileges(name: str, database: str) -> list[dict[str, Any]]:
    """Returns the privileges of this service's role, each for one collection of `database`."""
    rights = RIGHTS[name]
    actions = {
        **dict.fromkeys(rights.reads, _READ),
        **dict.fromkeys(rights.adds_to, (*_READ, *_SHAPE, "insert")),
        **dict.fromkeys(rights.owns, (*_READ, *_SHAPE, *_WRITE)),
    }
    return [
        {"resource": {"db": database, "collection": ""}, "actions": ["listCollections"]},
        # it refuses to start where a killed process would block others for long
        {"resource": {"cluster": True}, "actions": ["getParameter"]},
        *(
            {"resource": {"db": database, "collection": collection}, "actions": list(allowed)}
            for collection, allowed in actions.items()
        ),
    ]


def uses_nats(name: str) -> bool:
    """Whether the service has business with the event stream."""
    return name == OPERATOR or bool(RIGHTS[name].tells or RIGHTS[name].hears)


def uses_mongo(name: str) -> bool:
    """Whether the service has business with the database."""
    rights = RIGHTS[name]
    return bool(rights.owns or rights.adds_to or rights.reads)

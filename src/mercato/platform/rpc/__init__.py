"""gRPC: the server with its guard, the client with its manners, and errors on the wire."""

from mercato.platform.rpc.client import Channels, carry
from mercato.platform.rpc.guard import Rule, caller, client_of_call, validated
from mercato.platform.rpc.refusals import refusal_of, status_of
from mercato.platform.rpc.server import Server
from mercato.platform.rpc.tls import Identity

__all__ = [
    "Channels",
    "Identity",
    "Rule",
    "Server",
    "caller",
    "carry",
    "client_of_call",
    "refusal_of",
    "status_of",
    "validated",
]

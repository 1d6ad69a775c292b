"""A broker in memory that misbehaves, and its client."""

from tests.simulation.broker.client import Client
from tests.simulation.broker.stream import Broker

__all__ = ["Broker", "Client"]

"""A document store in memory with the part of MongoDB's behaviour that our repositories use."""

from tests.simulation.mongo.client import Client
from tests.simulation.mongo.server import Server

__all__ = ["Client", "Server"]

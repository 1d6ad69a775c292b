"""What stands in for pymongo's AsyncMongoClient in `Store`."""

from typing import Any

from pymongo.write_concern import WriteConcern

from tests.simulation.mongo.collection import Database
from tests.simulation.mongo.connection import Connection
from tests.simulation.mongo.session import Session


class Client(Connection):
    """A process's client, for its one database."""

    def get_database(self, _: str, write_concern: WriteConcern, **__: Any) -> Database:
        return Database(self, write_concern)

    def start_session(self, *, snapshot: bool) -> Session:
        assert not snapshot  # no use case reads at an instant of the past
        return Session(self)

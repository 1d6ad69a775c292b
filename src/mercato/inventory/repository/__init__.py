"""The catalogue, its stock and its ledger in MongoDB."""

from mercato.inventory.repository.documents import SHAPES, check_currency
from mercato.inventory.repository.products import MongoProducts
from mercato.inventory.repository.stock import MongoStock

__all__ = ["SHAPES", "MongoProducts", "MongoStock", "check_currency"]

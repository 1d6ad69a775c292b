"""What the user service keeps in MongoDB."""

from mercato.user.repository.users import OUTBOX, SHAPES, USERS, MongoUsers

__all__ = ["OUTBOX", "SHAPES", "USERS", "MongoUsers"]

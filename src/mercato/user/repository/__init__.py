"""What the user service keeps in MongoDB."""

from mercato.user.repository import attempts, oauth, sessions, trail, users
from mercato.user.repository.attempts import MongoDevices, RedisFailures
from mercato.user.repository.sessions import SESSIONS, MongoSessions
from mercato.user.repository.trail import SECURITY_EVENTS, MongoEvents, log_event
from mercato.user.repository.users import OUTBOX, USERS, MongoUsers

SHAPES = users.SHAPES | trail.SHAPES | attempts.SHAPES | sessions.SHAPES | oauth.SHAPES

__all__ = [
    "OUTBOX",
    "SECURITY_EVENTS",
    "SESSIONS",
    "SHAPES",
    "USERS",
    "MongoDevices",
    "MongoEvents",
    "MongoSessions",
    "MongoUsers",
    "RedisFailures",
    "log_event",
]

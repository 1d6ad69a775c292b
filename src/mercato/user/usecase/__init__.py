"""The verbs of identity."""

from mercato.user.usecase.accounts import (
    Accounts,
    Passwords,
    Registration,
    Users,
    Wish,
)
from mercato.user.usecase.sessions import (
    Granted,
    Sessions,
    SessionStore,
)
from mercato.user.usecase.trail import (
    Events,
    Recorder,
    Search,
    Trail,
)

__all__ = [
    "Accounts",
    "Events",
    "Granted",
    "Passwords",
    "Recorder",
    "Registration",
    "Search",
    "SessionStore",
    "Sessions",
    "Trail",
    "Users",
    "Wish",
]

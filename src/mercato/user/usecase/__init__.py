"""The verbs of identity."""

from mercato.user.usecase.accounts import Accounts, Passwords, Registration, Users, Wish
from mercato.user.usecase.trail import Events, Recorder, Search, Trail

__all__ = [
    "Accounts",
    "Events",
    "Passwords",
    "Recorder",
    "Registration",
    "Search",
    "Trail",
    "Users",
    "Wish",
]

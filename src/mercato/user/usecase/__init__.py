"""The verbs of identity."""

from mercato.user.usecase.accounts import (
    Accounts,
    Passwords,
    Registration,
    Users,
    Wish,
)
from mercato.user.usecase.attempts import Attempts, TooManyAttempts
from mercato.user.usecase.recovery import (
    Recovery,
)
from mercato.user.usecase.second_factor import (
    SecondFactors,
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
    "Attempts",
    "Events",
    "Granted",
    "Passwords",
    "Recorder",
    "Recovery",
    "Registration",
    "Search",
    "SecondFactors",
    "SessionStore",
    "Sessions",
    "TooManyAttempts",
    "Trail",
    "Users",
    "Wish",
]

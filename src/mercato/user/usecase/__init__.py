"""The verbs of identity."""

from mercato.user.usecase.accounts import Accounts, Passwords, Registration, Users, Wish

__all__ = ["Accounts", "Passwords", "Registration", "Users", "Wish"]

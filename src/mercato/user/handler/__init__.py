"""The user service's front door: its gRPC services, and who may call their methods."""

from mercato.user.handler import account, accounts
from mercato.user.handler.account import AccountHandler
from mercato.user.handler.accounts import UserHandler

ALLOWED = accounts.ALLOWED | account.ALLOWED

__all__ = ["ALLOWED", "AccountHandler", "UserHandler"]

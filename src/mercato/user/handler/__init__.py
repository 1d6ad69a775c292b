"""The user service's front door: its gRPC services, and who may call their methods."""

from mercato.user.handler import account, accounts, trail
from mercato.user.handler.account import AccountHandler
from mercato.user.handler.accounts import UserHandler
from mercato.user.handler.trail import SecurityHandler

ALLOWED = accounts.ALLOWED | account.ALLOWED | trail.ALLOWED

__all__ = ["ALLOWED", "AccountHandler", "SecurityHandler", "UserHandler"]

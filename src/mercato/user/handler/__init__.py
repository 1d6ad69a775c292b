"""The user service's front door: its gRPC services, and who may call their methods."""

from mercato.user.handler import account, accounts, oauth, sessions, trail
from mercato.user.handler.account import AccountHandler
from mercato.user.handler.accounts import UserHandler
from mercato.user.handler.oauth import OAuthHandler
from mercato.user.handler.sessions import SessionHandler
from mercato.user.handler.trail import SecurityHandler

ALLOWED = accounts.ALLOWED | account.ALLOWED | trail.ALLOWED | sessions.ALLOWED | oauth.ALLOWED

__all__ = [
    "ALLOWED",
    "AccountHandler",
    "OAuthHandler",
    "SecurityHandler",
    "SessionHandler",
    "UserHandler",
]

"""The user service's front door: its gRPC services, and who may call their methods."""

from mercato.user.handler import account, accounts, oauth, sessions, trail

ALLOWED = accounts.ALLOWED | account.ALLOWED | trail.ALLOWED | sessions.ALLOWED | oauth.ALLOWED

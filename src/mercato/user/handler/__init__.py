"""The user service's front door: its gRPC services, and who may call their methods."""

from mercato.user.handler.accounts import ALLOWED, UserHandler

__all__ = ["ALLOWED", "UserHandler"]

"""An account beside signing in: mailed links, the second factor, and the pages of links."""

from mercato.gateway.account.pages import routes
from mercato.gateway.account.rest import Account

__all__ = ["Account", "routes"]

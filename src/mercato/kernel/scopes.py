"""What an OAuth client may be allowed to do for somebody, in the words in which they are asked."""

from typing import Final

SCOPES: Final = {
    "openid": "know which account is yours",
    "profile": "see your username",
    "email": "see your e-mail address",
    "orders:read": "see your orders",
    "orders:write": "place and cancel orders in your name",
    "catalogue:write": "change products and stock, where you may",
    "offline_access": "do so while you are away, until you end its session",
}
# What a client may do in its own name, without a user: read every order, and nothing else.
CLIENT_SCOPES: Final = frozenset(("orders:read",))

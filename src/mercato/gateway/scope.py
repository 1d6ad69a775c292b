"""What a token that somebody else's program got by OAuth may be used for: what its scopes say."""

from mercato.kernel.errors import Forbidden
from mercato.kernel.identity import Caller
from mercato.kernel.scopes import CLIENT_SCOPES


class InsufficientScope(Forbidden):
    """The token is good, and is not for this (RFC 6750, 3.1)."""

    def __init__(self, scope: str) -> None:
        said = f"this needs a token with the scope {scope}" if scope else "no scope allows this"
        super().__init__(said)
        self.challenge = 'Bearer realm="mercato", error="insufficient_scope"'
        self.challenge += f', scope="{scope}"' if scope else ""


def within(caller: Caller, scope: str, *, reads: bool) -> Caller:
    """Returns who acts, where an operation asks for `scope` (empty: not for OAuth's tokens).

    A client in its own name stands for no user. It may only read, and is not asked whose: it
    reads as an admin does. Raises InsufficientScope.
    """
    if caller.role == "client":
        if not reads or scope not in caller.scopes & CLIENT_SCOPES:
            raise InsufficientScope(scope if reads and scope in CLIENT_SCOPES else "")
        return Caller(caller.id, "admin", scopes=caller.scopes)
    if caller.scopes and scope not in caller.scopes:
        raise InsufficientScope(scope)
    return caller

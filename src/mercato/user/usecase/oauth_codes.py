"""A code becomes a session, once; a second use ends what the first one gave (RFC 9700, 2.1.1)."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from mercato.user.model.oauth import InvalidGrant
from mercato.user.model.oauth_codes import Code
from mercato.user.model.session import Device, SessionNotFound
from mercato.user.usecase.sessions import Granted, People, Sessions


class Codes(Protocol):
    async def use_code(self, code: str, client_id: str) -> tuple[Code, int, str] | None:
        """Returns the client's code, how often it had been used, and the session that it gave."""
        ...

    async def gave(self, code_id: str, session_id: str) -> bool:
        """Keeps which session the code gave; False when it has been used again meanwhile."""
        ...


class Redemption:
    """Opens the sessions that codes stand for."""

    def __init__(
        self, codes: Codes, sessions: Sessions, people: People, clock: Callable[[], datetime]
    ) -> None:
        self._codes = codes
        self._sessions = sessions
        self._people = people
        self._clock = clock

    async def redeem(
        self, text: str, verifier: str, device: Device, client_id: str = "", redirect_uri: str = ""
    ) -> tuple[Code, Granted]:
        """Returns what the code was given for, and the session that it opens.

        A code is used up by any attempt of its own client, also by one that fails. Raises
        InvalidGrant.
        """
        found = await self._codes.use_code(text, client_id)
        if found is None:
            raise InvalidGrant("the code is not valid")
        code, uses, session_id = found
        if uses:
            await self._end(session_id, code.user_id)
            raise InvalidGrant("the code has been used")
        code.redeem(redirect_uri, verifier, self._clock())
        who = (await self._people.profiles([code.user_id])).get(code.user_id)
        if who is None:
            raise InvalidGrant("the account is gone")
        scopes = sorted(code.scopes)
        granted = await self._sessions.open(who, device, client_id=client_id, scopes=scopes)
        if not await self._codes.gave(code.id, granted.session_id):
            await self._end(granted.session_id, code.user_id)
            raise InvalidGrant("the code has been used")
        return code, granted

    async def _end(self, session_id: str, user_id: str) -> None:
        if session_id:
            with contextlib.suppress(SessionNotFound):
                await self._sessions.end(session_id, user_id)

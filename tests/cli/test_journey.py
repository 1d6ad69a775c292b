"""The demo where nobody signs in before their address is verified, as with PRIVATE_REGISTRATION."""

from collections.abc import Mapping
from email.message import Message

import pytest

from mercato.cli.journey import Journey, Unkept
from mercato.cli.rest import Answer, Rest


class Strict(Rest):
    """Shop and mailbox at once: the link in the mail opens the door."""

    verified = False

    def signed_in(self, token: str) -> "Strict":
        return self

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        if path == "/api/users/verify-email":
            assert body == {"token": "from-the_link"}
            self.verified = True
        if path == "/api/users/authenticate" and not self.verified:
            return Answer(401, Message(), {"detail": "the login is wrong"})
        text = "open http://127.0.0.1/account/verify?token=from-the_link soon"
        said = {"token": "t", "email": "nobody", "messages": [{"ID": "1"}], "Text": text}
        return Answer(200, Message(), said)


def test_the_link_in_the_mail_is_used_where_it_takes_one() -> None:
    shop = Strict("http://127.0.0.1:9")
    journey = Journey(shop, shop, ("admin@mercato.example", "secret"))
    with pytest.raises(Unkept, match="the profile is nobody's"):  # which comes after
        journey._sign_in()
    assert shop.verified


def test_without_a_mailbox_it_says_what_it_needs() -> None:
    journey = Journey(Strict("http://127.0.0.1:9"), None, ("admin@mercato.example", "secret"))
    with pytest.raises(Unkept, match=r"401 .* PRIVATE_REGISTRATION=on it needs --mailbox"):
        journey._sign_in()
